//! Pictures of what probes and comparisons found.

use std::error::Error;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use storage::probe::{Prediction, ProbeReport};

use super::compare::{Column, Outcome};
use super::show::{rate, time};
use crate::cli::wrap::wrapped;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
// Colours that people with any colour vision tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

const WIDTH: i32 = 1120;
const LEFT: i32 = 24;
const NAMES: i32 = 210;
const RIGHT: i32 = 190;
const ROW: i32 = 26;

/// Bars on a logarithmic scale: sends per second of each target for each number of producers, and the
/// acknowledgement latency behind it.
pub(super) fn compare(columns: &[Column], bytes: usize, advice: &str) -> anyhow::Result<String> {
    let groups = columns.first().map_or(0, |column| column.outcomes.len());
    let group_height = ROW * columns.len() as i32 + 46;
    let advice = wrapped(advice, 160);
    let height = 96 + groups as i32 * group_height + 54 + 18 * advice.len() as i32;
    let mut svg = String::new();
    draw(&mut svg, height, |area| {
        title(area, "Persistent sends per second on different storage")?;
        let about = format!(
            "messages of {bytes} bytes, each producer waits for every answer; a bar is what was measured, the line across it what \
             was predicted"
        );
        write(area, &about, (LEFT, 46), 14, INK, HPos::Left)?;
        let all = columns.iter().flat_map(|column| &column.outcomes);
        let rates =
            all.flat_map(|outcome| [outcome.sent.per_second(), outcome.predicted.per_second]);
        let scale = Scale::over(rates);
        let bottom = 84 + groups as i32 * group_height;
        scale.draw(area, 78, bottom, "sends/s, logarithmic", &rate)?;
        for group in 0..groups {
            let top = 84 + group as i32 * group_height;
            bars(area, columns, group, top, &scale)?;
        }
        for (index, line) in advice.iter().enumerate() {
            let at = (LEFT, bottom + 50 + 18 * index as i32);
            write(area, line, at, 14, INK, HPos::Left)?;
        }
        Ok(())
    })?;
    Ok(svg)
}

fn bars(area: &Area<'_>, columns: &[Column], group: usize, top: i32, scale: &Scale) -> Drawn {
    let Some(first) = columns
        .first()
        .and_then(|column| column.outcomes.get(group))
    else {
        return Ok(());
    };
    let head = match first.producers {
        1 => "1 producer".to_owned(),
        count => format!("{count} producers"),
    };
    write(area, &head, (LEFT, top + 8), 16, INK, HPos::Left)?;
    for (index, column) in columns.iter().enumerate() {
        let Some(outcome) = column.outcomes.get(group) else {
            continue;
        };
        let y = top + 30 + ROW * index as i32;
        let colour = COLOURS[index % COLOURS.len()];
        write(
            area,
            &short(&column.name),
            (LEFT + NAMES - 10, y + 3),
            14,
            INK,
            HPos::Right,
        )?;
        bar(area, outcome, y, colour, scale)?;
    }
    Ok(())
}

fn bar(area: &Area<'_>, outcome: &Outcome, y: i32, colour: RGBColor, scale: &Scale) -> Drawn {
    let (left, right) = (scale.at(scale.least), scale.at(outcome.sent.per_second()));
    area.draw(&Rectangle::new(
        [(left, y), (right, y + ROW - 6)],
        colour.filled(),
    ))?;
    let predicted = scale.at(outcome.predicted.per_second);
    let mark = PathElement::new(
        vec![(predicted, y - 3), (predicted, y + ROW - 3)],
        INK.stroke_width(3),
    );
    area.draw(&mark)?;
    let sent = &outcome.sent;
    let text = format!(
        "{}/s   p50 {}, p99 {}",
        rate(sent.per_second()),
        time(sent.at(0.5)),
        time(sent.at(0.99))
    );
    let beside = right.max(predicted) + 8;
    write(area, &text, (beside, y + 3), 13, INK, HPos::Left)
}

/// The times of each operation of a probe: from the median to the 99th percentile, and the maximum.
pub(super) fn probe(
    name: &str,
    report: &ProbeReport,
    predictions: &[(usize, Prediction)],
) -> anyhow::Result<String> {
    let measured: Vec<_> = report
        .measured
        .iter()
        .filter(|one| !one.times.is_empty())
        .collect();
    let bottom = 84 + ROW * measured.len() as i32 + 6;
    let mut svg = String::new();
    draw(
        &mut svg,
        bottom + 50 + 20 * predictions.len() as i32,
        |area| {
            title(area, &format!("Operations on {name}"))?;
            let about = "a bar is from the median to the 99th percentile, the line at its right the maximum";
            write(area, about, (LEFT, 46), 14, INK, HPos::Left)?;
            let us = |nanos: u64| nanos.max(100) as f64 / 1000.0;
            let times = measured
                .iter()
                .flat_map(|one| [us(one.times.value_at_quantile(0.5)), us(one.times.max())]);
            let scale = Scale::over(times);
            let label = |us: f64| time(std::time::Duration::from_secs_f64(us / 1e6));
            scale.draw(
                area,
                78,
                bottom,
                "time of one operation, logarithmic",
                &label,
            )?;
            for (index, one) in measured.iter().enumerate() {
                let y = 84 + ROW * index as i32;
                let at = |share| scale.at(us(one.times.value_at_quantile(share)));
                let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
                write(
                    area,
                    one.name,
                    (LEFT + NAMES - 10, y + 3),
                    14,
                    INK,
                    HPos::Right,
                )?;
                let colour = COLOURS[usize::from(one.threads > 1)];
                let bar = [(p50, y), (p99.max(p50 + 2), y + ROW - 6)];
                area.draw(&Rectangle::new(bar, colour.filled()))?;
                area.draw(&PathElement::new(
                    vec![(max, y), (max, y + ROW - 6)],
                    INK.stroke_width(2),
                ))?;
                let text = format!(
                    "{}, {}/s",
                    label(us(one.times.value_at_quantile(0.5))),
                    rate(one.per_second())
                );
                write(area, &text, (max + 8, y + 3), 13, INK, HPos::Left)?;
            }
            for (index, (producers, expected)) in predictions.iter().enumerate() {
                let text = format!(
                    "producers at once: {producers}; about {} persistent sends/s predicted, p50 {}, p99 {}",
                    rate(expected.per_second),
                    time(expected.p50),
                    time(expected.p99)
                );
                write(
                    area,
                    &text,
                    (LEFT, bottom + 46 + 20 * index as i32),
                    14,
                    INK,
                    HPos::Left,
                )?;
            }
            Ok(())
        },
    )?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    height: i32,
    body: impl FnOnce(&Area<'_>) -> Drawn,
) -> anyhow::Result<()> {
    let area = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
    let outcome = area
        .fill(&WHITE)
        .map_err(Box::from)
        .and_then(|()| body(&area));
    let presented = outcome.and_then(|()| area.present().map_err(Box::from));
    presented.map_err(|error: Box<dyn Error>| anyhow!("cannot draw the picture: {error}"))
}

fn title(area: &Area<'_>, text: &str) -> Drawn {
    write(area, text, (LEFT, 14), 22, INK, HPos::Left)
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: RGBColor,
    side: HPos,
) -> Drawn {
    let style = (FONT, size)
        .into_font()
        .color(&colour)
        .pos(Pos::new(side, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// A logarithmic axis over whole powers of ten.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>) -> Scale {
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for value in values.filter(|value| *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        // A bar has some length, also the shortest one.
        let least = 10_f64.powf((least / 1.5).log10().floor());
        Scale {
            least,
            most: most.max(least * 10.0),
        }
    }

    fn at(&self, value: f64) -> i32 {
        let (left, right) = (LEFT + NAMES, WIDTH - RIGHT - LEFT);
        let part = (value.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        left + (part * f64::from(right - left)) as i32
    }

    fn draw(
        &self,
        area: &Area<'_>,
        top: i32,
        bottom: i32,
        about: &str,
        label: &dyn Fn(f64) -> String,
    ) -> Drawn {
        let mut value = self.least;
        while value <= self.most * 1.001 {
            let x = self.at(value);
            area.draw(&PathElement::new(
                vec![(x, top), (x, bottom)],
                GRID.stroke_width(1),
            ))?;
            write(area, &label(value), (x, bottom + 4), 12, INK, HPos::Center)?;
            value *= 10.0;
        }
        write(area, about, (LEFT, bottom + 4), 12, INK, HPos::Left)
    }
}

/// The end of a long name tells more than its beginning.
fn short(name: &str) -> String {
    const MOST: usize = 26;
    let count = name.chars().count();
    if count <= MOST {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(count - MOST + 1).collect();
    format!("\u{2026}{tail}")
}
