//! DHT messages (BEP 5, 32).
