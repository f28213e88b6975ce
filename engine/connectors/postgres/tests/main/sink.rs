//! The sink beyond the suite: what real workloads do to it.
