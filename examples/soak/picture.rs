//! The curves: the directory and its bound, and the memory of both brokers.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::samples::{Sample, Samples};

const SIZE: (u32, u32) = (1100, 760);
// Colours that people with any colour vision tell apart (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const RED: RGBColor = RGBColor(213, 94, 0);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Curve = (&'static str, RGBColor, fn(&Sample) -> u64);

/// Draws both charts into `path`.
pub(crate) fn draw(samples: &Samples, path: &Path) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed =
        |error: &dyn std::fmt::Display| anyhow!("cannot draw `{}`: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let (upper, lower) = root.split_vertically(420);
    let disk: [Curve; 3] = [
        ("bound: 2 x live + 2 segments + 4 spare files", RED, |one| {
            one.bound
        }),
        ("disk use of the directory", BLUE, |one| one.disk),
        ("live: pending messages", GREEN, |one| one.live),
    ];
    let memory: [Curve; 2] = [
        ("resident memory of broker a", BLUE, |one| one.memory[0]),
        ("resident memory of broker b", GREEN, |one| one.memory[1]),
    ];
    chart(samples, &upper, "Disk use under soak, MB", &disk).map_err(|error| failed(&error))?;
    chart(samples, &lower, "Memory, MB", &memory).map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}

fn chart(
    samples: &Samples,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    curves: &[Curve],
) -> Result<(), Box<dyn std::error::Error>> {
    let all = &samples.all;
    let minutes = all
        .last()
        .map_or(1.0, |last| (last.seconds / 60.0).max(0.1));
    let values = curves.iter().flat_map(|(_, _, of)| all.iter().map(of));
    // The legend stands above the curves.
    let top = values.max().unwrap_or(1) as f64 / 1e6 * 1.5;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(title, ("sans-serif", 20).into_font().color(&INK))
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..minutes, 0.0..top.max(1.0))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_desc("minutes")
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .draw()?;
    for (name, color, of) in curves {
        let points = all
            .iter()
            .map(|one| (one.seconds / 60.0, of(one) as f64 / 1e6));
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    // A new tenure began: the active had been killed.
    for pair in all.windows(2).filter(|pair| pair[0].epoch != pair[1].epoch) {
        let at = pair[1].seconds / 60.0;
        let line = [(at, 0.0), (at, top)];
        chart.draw_series(LineSeries::new(line, INK.mix(0.35)))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(("sans-serif", 14).into_font().color(&INK))
        .draw()?;
    Ok(())
}
