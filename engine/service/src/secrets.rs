//! `${env:NAME}` and `${file:PATH}` in the configuration.
