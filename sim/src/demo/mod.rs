//! `make demo` and `make drift`: a story on one machine, told with the service's own API and judged from the users' side.
//!
//! ```text
//! ground    the pocket region, three servers, users at a steady pace
//! service   the real `cutover serve`, with its embedded Postgres
//! story     sets all of it up, has one story told, judges it, and stops what was started
//! release   that story: a release that goes well, and one that is sent back
//! drift     another: rules edited by hand in mid-flight
//! hand      every act is a line for a shell, printed and then run as it stands
//! events    the sentences of Cutover's own history, as they come
//! timeline  what the load balancer's rules asked for, read from the region and not from Cutover
//! verdict   what was promised against what the users saw; picture draws the two
//! ```

pub mod drift;
pub mod events;
pub mod ground;
pub mod hand;
pub mod picture;
pub mod release;
pub mod screen;
pub mod service;
pub mod story;
pub mod timeline;
pub mod verdict;
