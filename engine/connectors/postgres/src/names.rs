//! The names of what sluice makes on a server.

use sluice_types::ports::LineContext;
use sluice_types::{InstallId, PipelineId};

/// The schema of what sluice makes for itself. No pattern matches it and no publication carries it.
pub(crate) const OWN_SCHEMA: &str = "sluice";
/// The longest name of the server, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The name of a line's slot and publication: `sluice_<install8>_<pipeline>`, of what slots allow (`a-z0-9_`) and at most 63 bytes.
/// Where something of the pipeline's name had to go, a digest of the whole keeps it apart from its likes.
pub(crate) fn of_line(line: &LineContext) -> String {
    of(&line.install, &line.pipeline)
}

/// The same by what it is made of.
pub(crate) fn of(install: &InstallId, pipeline: &PipelineId) -> String {
    let clean = |text: &str| -> String {
        text.chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect()
    };
    let pipeline = pipeline.to_string();
    let name = format!("{OWN_SCHEMA}_{}_{}", clean(install.short()), clean(&pipeline));
    if name.len() <= NAME_BYTES_MAX && name.ends_with(&pipeline) {
        return name;
    }
    let digest = sluice_types::Digest::of(pipeline.as_bytes()).digits();
    let kept = name.get(..NAME_BYTES_MAX - 9).unwrap_or(&name);
    format!("{kept}_{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_kit::TestClock;
    use sluice_types::ports::SpillRoom;

    use super::*;

    fn name(pipeline: &str) -> String {
        of_line(&LineContext {
            pipeline: pipeline.into(),
            install: "0123456789abcdef".into(),
            clock: TestClock::start() as Arc<_>,
            spill: SpillRoom::new("spill", 0),
        })
    }

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(name("customers"), "sluice_01234567_customers");
        assert_ne!(name("a-b"), name("a_b"));
        assert_ne!(name("Ab"), name("ab"));
        let long = "x".repeat(80);
        assert!(name(&long).len() <= 63 && name(&long) != name(&format!("{long}y")));
        assert!(name("größe").chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    }
}
