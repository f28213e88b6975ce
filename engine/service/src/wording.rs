//! How an error is told to somebody who is not to see its causes.

use sluice_types::Error;

/// What happened, where and what to do. The causes, which may name files, servers and accounts, are for the log.
pub fn for_callers(error: &Error) -> String {
    let mut text = error.what().to_string();
    let place = error.place().to_string();
    if !place.is_empty() {
        text.push_str(&format!(" ({place})"));
    }
    if let Some(remedy) = error.remedy_text() {
        text.push_str(&format!(". {remedy}"));
    }
    for finding in error.all_findings() {
        text.push_str(&format!("\n  {finding}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use sluice_types::ErrorKind;

    use super::*;

    #[test]
    fn causes_stay_in_the_log() {
        let cause = std::io::Error::other("password refused for sync at 10.0.4.7");
        let error = Error::new(ErrorKind::Unreachable, "the source did not answer")
            .because(cause)
            .remedy("Is it running?");
        assert_eq!(for_callers(&error), "the source did not answer. Is it running?");
    }
}
