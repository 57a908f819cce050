//! Tracker requests and replies over HTTP and UDP (BEP 3, 7, 15, 23, 24).
