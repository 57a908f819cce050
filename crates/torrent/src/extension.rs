//! Extension messages that travel inside the peer wire (BEP 9, 10, 11).
