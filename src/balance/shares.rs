//! Draws a member at random by weight, in constant time. Used by the algorithms that draw. Hot path.
//!
//! The table is that of the alias method (Vose, "A linear algorithm for generating random numbers with a given
//! distribution", IEEE Transactions on Software Engineering 17, 1991): as many cells as members, all of the same size,
//! each shared by at most two.

use super::{Member, Tried, dice::Dice};

/// Draws that may meet somebody who is not free; then all members are looked at.
const DRAWS: usize = 4;

/// Members with their weights.
#[derive(Debug)]
pub(super) struct Shares {
    cells: Box<[Cell]>,
}

/// One member, and a cell of the table.
#[derive(Clone, Copy, Debug)]
struct Cell {
    id: u32,
    weight: u32,
    /// How much of the cell is its member's own, of 2^32.
    own: u32,
    /// Whose the rest is.
    alias: u32,
}

impl Shares {
    pub(super) fn new(members: &[Member]) -> Self {
        let cell = |(member, place): (&Member, u32)| Cell {
            id: member.id,
            weight: member.weight.max(1),
            own: u32::MAX,
            alias: place,
        };
        let mut cells: Box<[Cell]> = members.iter().zip(0..).map(cell).collect();
        fill(&mut cells);
        Self { cells }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn weight(&self, place: usize) -> u64 {
        u64::from(self.cells[place].weight)
    }

    /// The member at `place` was not tried.
    pub(super) fn is_fresh(&self, place: usize, tried: &Tried) -> bool {
        tried.is_empty() || !tried.has(self.cells[place].id)
    }

    /// One of those that are `free`, by weight. All members are looked at if a few draws meet none.
    pub(super) fn draw(&self, dice: &mut Dice, free: impl Fn(usize) -> bool) -> Option<usize> {
        self.try_draw(dice, &free).or_else(|| self.choose(dice, (0..self.len()).filter(|&place| free(place))))
    }

    /// As [`Shares::draw`], without the second part.
    pub(super) fn try_draw(&self, dice: &mut Dice, free: impl Fn(usize) -> bool) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        (0..DRAWS).map(|_| self.any(dice)).find(|&place| free(place))
    }

    /// One of `places` by weight, in one pass (Chao 1982).
    pub(super) fn choose(&self, dice: &mut Dice, places: impl Iterator<Item = usize>) -> Option<usize> {
        let (mut sum, mut chosen) = (0, None);
        for place in places {
            sum += self.weight(place);
            if dice.below(sum) < self.weight(place) {
                chosen = Some(place);
            }
        }
        chosen
    }

    /// Anybody, by weight; there must be somebody. The upper half of the bits finds the cell, the lower half the member.
    pub(super) fn any(&self, dice: &mut Dice) -> usize {
        let random = dice.roll();
        let place = (((random >> 32) * self.cells.len() as u64) >> 32) as usize;
        let cell = self.cells[place];
        // By index: a branch would be mispredicted every other time.
        [cell.alias as usize, place][usize::from(random as u32 <= cell.own)]
    }
}

/// Gives what members with small weights leave of their cells to those with large ones.
fn fill(cells: &mut [Cell]) {
    let sum: u128 = cells.iter().map(|cell| u128::from(cell.weight)).sum();
    // A cell holds `sum`, so that nothing is rounded before the end.
    let mut left: Vec<u128> = cells.iter().map(|cell| u128::from(cell.weight) * cells.len() as u128).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..cells.len()).partition(|&place| left[place] < sum);
    while let (Some(lower), Some(&upper)) = (small.pop(), large.last()) {
        cells[lower].own = ((left[lower] << 32) / sum) as u32;
        cells[lower].alias = upper as u32;
        left[upper] -= sum - left[lower];
        if left[upper] < sum {
            large.pop();
            small.push(upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn the_cells_add_up_to_the_weights() {
        for weights in [&[1][..], &[7, 7, 7], &[5, 3, 1, 1], &[1000, 1], &[u32::MAX, 1, u32::MAX]] {
            let shares = Shares::new(&testing::members(weights));
            let mut got = vec![0.0; weights.len()];
            for (place, cell) in shares.cells.iter().enumerate() {
                let own = (f64::from(cell.own) + 1.0) / 2f64.powi(32);
                got[place] += own;
                got[cell.alias as usize] += 1.0 - own;
            }
            let sum: f64 = weights.iter().copied().map(f64::from).sum();
            for (got, &weight) in got.iter().zip(weights) {
                let wanted = f64::from(weight) / sum * weights.len() as f64;
                assert!((got - wanted).abs() < 1e-8, "{got} for {wanted} of {weights:?}");
            }
        }
    }

    #[test]
    fn those_who_are_free_are_found_however_light() {
        let shares = Shares::new(&testing::members(&[1000, 1, 1000]));
        let mut dice = Dice::new(7);
        assert!((0..100).all(|_| shares.draw(&mut dice, |place| place == 1) == Some(1)));
        assert_eq!(shares.draw(&mut dice, |_| false), None);
    }

    #[test]
    fn the_rest_keeps_its_proportions() {
        let shares = Shares::new(&testing::members(&[1000, 3, 1]));
        let mut dice = Dice::new(testing::seed());
        let (mut counts, draws) = ([0.0; 3], 20_000);
        for _ in 0..draws {
            counts[shares.draw(&mut dice, |place| place != 0).unwrap()] += 1.0;
        }
        testing::assert_shares(&counts[1..], &[3, 1]);
    }
}
