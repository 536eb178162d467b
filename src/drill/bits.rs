//! A growing set of small numbers, one bit each: a million messages cost 125 KB for each fact
//! that the ledger keeps about them.

/// Set of the numbers from 0 up to the largest one that was added.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Adds `number`; says whether it was absent.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let (word, mask) = place(number);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let absent = self.words[word] & mask == 0;
        self.words[word] |= mask;
        absent
    }

    /// Takes `number` out.
    pub(super) fn remove(&mut self, number: u64) {
        let (word, mask) = place(number);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !mask;
        }
    }

    /// Whether `number` is in the set.
    pub(super) fn contains(&self, number: u64) -> bool {
        let (word, mask) = place(number);
        self.words.get(word).is_some_and(|word| word & mask != 0)
    }

    /// How many numbers are in the set.
    pub(super) fn count(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// The numbers of this set that are in none of `others`, smallest first.
    pub(super) fn without<'a>(&'a self, others: [&'a Self; 2]) -> impl Iterator<Item = u64> + 'a {
        self.words
            .iter()
            .enumerate()
            .flat_map(move |(index, word)| {
                let covered = others
                    .iter()
                    .filter_map(|other| other.words.get(index))
                    .fold(0, |all, word| all | word);
                let rest = word & !covered;
                (0..64)
                    .filter(move |bit| rest & (1 << bit) != 0)
                    .map(move |bit| index as u64 * 64 + bit)
            })
    }
}

fn place(number: u64) -> (usize, u64) {
    ((number / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_holds_what_was_added_and_not_removed() {
        let mut bits = Bits::default();
        assert!(bits.insert(0));
        assert!(bits.insert(64));
        assert!(bits.insert(1000));
        assert!(!bits.insert(64));
        bits.remove(0);
        bits.remove(5000);
        assert!(!bits.contains(0) && bits.contains(64) && bits.contains(1000));
        assert!(!bits.contains(5000));
        assert_eq!(bits.count(), 2);
    }

    #[test]
    fn difference_leaves_out_what_any_other_set_has() {
        let set = |numbers: &[u64]| {
            let mut bits = Bits::default();
            for number in numbers {
                bits.insert(*number);
            }
            bits
        };
        let all = set(&[1, 63, 64, 65, 200]);
        let rest: Vec<_> = all.without([&set(&[63]), &set(&[64, 300])]).collect();
        assert_eq!(rest, [1, 65, 200]);
    }
}
