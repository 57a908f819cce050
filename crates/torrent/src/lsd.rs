//! Local service discovery announcements (BEP 14).
