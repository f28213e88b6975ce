//! `conflict:` of a pipeline, and of one of its tables.

use sluice_pipeline::{ConflictPolicy, ConflictStrategy};
use sluice_types::{ErrorKind, Finding, Settings};

/// The words after `strategy:` that are built, in the order of the documentation.
pub(super) const STRATEGIES: [&str; 7] =
    ["none", "source-wins", "target-wins", "latest", "version", "merge-columns", "park"];

#[derive(Clone, Copy)]
enum Word {
    None,
    SourceWins,
    TargetWins,
    Latest,
    Version,
    MergeColumns,
    Park,
    NotBuilt,
}

/// What is written there, or else `inherited`.
pub(super) fn read(settings: &mut Settings, inherited: Option<&ConflictPolicy>) -> Option<ConflictPolicy> {
    let Some(mut conflict) = settings.take_settings("conflict") else { return inherited.cloned() };
    let path = conflict.path().to_string();
    let strategy = strategy(&mut conflict);
    settings.absorb(conflict);
    strategy.map(|strategy| ConflictPolicy { strategy, path })
}

fn strategy(conflict: &mut Settings) -> Option<ConflictStrategy> {
    if !conflict.has("strategy") {
        conflict.reject("strategy", "`strategy` is missing", format!("one of: {}", STRATEGIES.join(", ")));
    }
    let words = [
        ("none", Word::None),
        ("source-wins", Word::SourceWins),
        ("target-wins", Word::TargetWins),
        ("latest", Word::Latest),
        ("version", Word::Version),
        ("merge-columns", Word::MergeColumns),
        ("park", Word::Park),
        ("plugin", Word::NotBuilt),
    ];
    let word = conflict.take_word("strategy", &words);
    let column = conflict.take_text("column");
    if matches!(word, Some(Word::NotBuilt)) {
        // Its other keys belong to it.
        conflict.take("plugin");
        let what = "this strategy is not built yet in this version";
        let remedy = format!("write one of: {}", STRATEGIES.join(", "));
        let path = conflict.path_of("strategy");
        conflict.find(Finding::error(ErrorKind::NotBuilt, path, what, remedy));
        return None;
    }
    let by_column = matches!(word, Some(Word::Latest | Word::Version));
    if by_column && column.is_none() {
        let remedy = "name the column of the target's table that tells which row is the later one";
        conflict.reject("column", "`column` is missing", remedy);
    } else if !by_column && word.is_some() && column.is_some() {
        conflict.reject("column", "this strategy looks at no column", "leave `column` out");
    }
    match word? {
        Word::None | Word::NotBuilt => None,
        Word::SourceWins => Some(ConflictStrategy::SourceWins),
        Word::TargetWins => Some(ConflictStrategy::TargetWins),
        Word::Latest => column.map(ConflictStrategy::Latest),
        Word::Version => column.map(ConflictStrategy::Version),
        Word::MergeColumns => Some(ConflictStrategy::MergeColumns),
        Word::Park => Some(ConflictStrategy::Park),
    }
}
