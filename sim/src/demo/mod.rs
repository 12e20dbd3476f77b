//! `make demo`: the whole story on one machine, told with the service's own API and judged from the users' side.
//!
//! ```text
//! ground    the pocket region, three servers, users at a steady pace
//! service   the real `cutover serve`, with its embedded Postgres
//! hand      every act is a curl line, printed and then run as it stands
//! events    the sentences of Cutover's own history, as they come
//! timeline  what the load balancer's rules asked for, read from the region and not from Cutover
//! verdict   what was promised against what the users saw; picture draws the two
//! ```

pub mod events;
pub mod ground;
pub mod hand;
pub mod picture;
pub mod screen;
pub mod service;
pub mod story;
pub mod timeline;
pub mod verdict;
