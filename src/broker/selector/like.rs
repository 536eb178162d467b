//! The patterns of LIKE.

/// A pattern: `%` stands for any text, `_` for one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LikePattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Character(char),
    One,
    Any,
}

impl LikePattern {
    /// Reads a pattern. The escape character takes its meaning from `%`, `_` and itself; before
    /// anything else it stands for itself.
    pub(super) fn new(pattern: &str, escape: Option<char>) -> Self {
        let mut parts = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(character) = rest.next() {
            if escape == Some(character)
                && let Some(escaped) =
                    rest.next_if(|next| matches!(next, '%' | '_') || *next == character)
            {
                parts.push(Part::Character(escaped));
                continue;
            }
            match character {
                '%' if parts.last() == Some(&Part::Any) => {}
                '%' => parts.push(Part::Any),
                '_' => parts.push(Part::One),
                character => parts.push(Part::Character(character)),
            }
        }
        LikePattern(parts)
    }

    /// Whether the whole text fits. It goes back to the last `%` only, so the work is bounded by
    /// the product of both lengths.
    pub(super) fn fits(&self, text: &str) -> bool {
        let mut at = 0;
        let mut rest = text.chars();
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (self.0.get(at), rest.next()) {
                (Some(Part::Any), _) => {
                    at += 1;
                    rest = before.clone();
                    retry = Some((at, before));
                }
                (Some(Part::One), Some(_)) => at += 1,
                (Some(Part::Character(wanted)), Some(found)) if *wanted == found => at += 1,
                (None, None) => return true,
                _ => {
                    let Some((place, tried)) = &mut retry else {
                        return false;
                    };
                    if tried.next().is_none() {
                        return false;
                    }
                    at = *place;
                    rest = tried.clone();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_text() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("_", "", false),
            ("a%c", "abbc", true),
            ("a%c", "abbcd", false),
            ("%a%b%", "xxaxxbxx", true),
            ("%ab", "aab", true),
            ("_\u{1F600}%", "x\u{1F600}y", true),
            ("a%b_", "a\nbbc", true),
        ];
        for (pattern, text, fits) in cases {
            let like = LikePattern::new(pattern, None);
            assert_eq!(like.fits(text), fits, "{text:?} LIKE {pattern:?}");
        }
    }

    #[test]
    fn the_escape_character_escapes_wildcards_and_itself_only() {
        let like = LikePattern::new(r"\%\\\a%", Some('\\'));
        assert!(like.fits(r"%\\a and more"));
        assert!(!like.fits(r"x\\a"));
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let like = LikePattern::new(&"%a".repeat(200), None);
        assert!(!like.fits(&format!("{}b", "a".repeat(10_000))));
    }
}
