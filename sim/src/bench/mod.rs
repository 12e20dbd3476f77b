//! `make bench`: what Cutover costs, measured on the real program against a pocket region.
//!
//! ```text
//! fleet  a region with many services, Cutover at work on them, and a deployment of each
//! calls  how often AWS is asked: for one deployment from its request to its end, and a minute while many bake
//! ```

pub mod calls;
pub mod fleet;
