//! The host against guests that do everything a guest may do, and much that it may not.

mod limits;
mod plans;
mod shapes;
mod speed;
mod support;
mod swaps;
mod values;
