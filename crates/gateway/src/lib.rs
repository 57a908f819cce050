//! The daemon over HTTP. Each module speaks one foreign protocol and translates it to
//! [`api::Service`].

pub mod content;
pub mod http;
