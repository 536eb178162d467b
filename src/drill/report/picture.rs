//! The picture of a drill: throughput and latency over time with the faults and takeovers
//! marked, the phases of each takeover, and latency percentiles.

use std::error::Error;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::{Report, Round, millis};
use crate::drill::DrillError;
use crate::drill::timeline::Milestones;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn Error>>;

const SIZE: (u32, u32) = (1280, 1128);
const FONT: &str = "sans-serif";
/// Points a curve over time is reduced to, so that a day's drill is still a small file.
const POINTS_MAX: usize = 1200;

// Colours that people with any colour vision tell apart (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const RED: RGBColor = RGBColor(213, 94, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

pub(super) fn render(report: &Report) -> Result<String, DrillError> {
    let mut svg = String::new();
    draw(report, &mut svg).map_err(|error| DrillError::Draw {
        reason: error.to_string(),
    })?;
    Ok(svg)
}

fn draw(report: &Report, svg: &mut String) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, rest) = root.split_vertically(84);
    let (throughput_area, rest) = rest.split_vertically(310);
    let (latency_area, rest) = rest.split_vertically(330);
    let (phases_area, percentiles_area) = rest.split_horizontally(720);
    title(report, &head)?;
    throughput(report, &throughput_area)?;
    latency(report, &latency_area)?;
    phases(report, &phases_area)?;
    percentiles(report, &percentiles_area)?;
    root.present()?;
    Ok(())
}

fn title(report: &Report, area: &Area<'_>) -> Drawn {
    let (word, color) = if report.passed {
        ("passed", GREEN)
    } else {
        ("FAILED", RED)
    };
    let mut faults: Vec<&str> = report.rounds.iter().map(|round| round.fault).collect();
    faults.sort_unstable();
    faults.dedup();
    let count = report.rounds.len();
    let text = format!(
        "BatonMQ drill: {count} round{} ({}), {word}",
        if count == 1 { "" } else { "s" },
        faults.join(", ")
    );
    let at = |size: i32, color: RGBColor| (FONT, size).into_font().color(&color);
    area.draw(&Text::new(text, (20, 14), at(24, color)))?;
    let setup = &report.setup;
    let mut second = format!(
        "{} producers, {} transacted consumers, {} B persistent, ",
        setup.producers, setup.consumers, setup.size
    );
    second += &match setup.rate {
        0 => "as fast as it goes".to_owned(),
        rate => format!("{rate} messages/s"),
    };
    if let Some(backlog) = &report.backlog {
        second += &format!(", backlog of {}", super::thousands(backlog.messages));
    }
    let tally = &report.ledger;
    second += &format!(
        "; {} acknowledged, {} lost",
        super::thousands(tally.acknowledged),
        tally.lost
    );
    area.draw(&Text::new(second, (20, 42), at(14, INK)))?;
    let spreads = report.spreads();
    let times: Vec<String> = spreads
        .iter()
        .filter_map(|(fault, _, load)| {
            Some(format!("{} ms ({fault})", millis(load.as_ref()?.median_us)))
        })
        .collect();
    if !times.is_empty() {
        let third = format!(
            "load acknowledged again after a median of {}",
            times.join(", ")
        );
        area.draw(&Text::new(third, (20, 60), at(14, INK)))?;
    }
    Ok(())
}

/// A curve over time: seconds and a value.
type Points = Vec<(f64, f64)>;

/// Reduces the buckets from `first` to `len` to at most `POINTS_MAX` points of `group` each. What
/// precedes the load, like loading a backlog, is left out.
struct Grouping {
    first: usize,
    len: usize,
    group: usize,
}

fn grouped(report: &Report) -> Grouping {
    let series = &report.series;
    let len = series.acknowledged.len();
    let first = series
        .acknowledged
        .iter()
        .position(|count| *count > 0)
        .unwrap_or(0);
    Grouping {
        first,
        len,
        group: (len - first).div_ceil(POINTS_MAX).max(1),
    }
}

fn rate_points(report: &Report, column: &[u32]) -> Points {
    let Grouping { first, len, group } = grouped(report);
    let width = report.series.bucket_us as f64 / 1e6;
    (first..len)
        .step_by(group)
        .map(|from| {
            let slice = &column[from..(from + group).min(len)];
            let sum: u64 = slice.iter().map(|count| u64::from(*count)).sum();
            let middle = (from as f64 + slice.len() as f64 / 2.0) * width;
            (middle, sum as f64 / (slice.len() as f64 * width))
        })
        .collect()
}

fn throughput(report: &Report, area: &Area<'_>) -> Drawn {
    let acknowledged = rate_points(report, &report.series.acknowledged);
    let delivered = rate_points(report, &report.series.delivered);
    let top = acknowledged
        .iter()
        .chain(&delivered)
        .map(|point| point.1)
        .fold(1.0, f64::max);
    let mut chart = chart_over_time(report, area, "Throughput", 0.0..top * 1.15)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_desc("time, s")
        .x_label_formatter(&|seconds| short(*seconds))
        .y_desc("messages/s")
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .y_label_formatter(&|value| super::thousands(*value as u64))
        .draw()?;
    mark_rounds(report, &mut chart, top * 1.15, true)?;
    line(&mut chart, &[delivered], ORANGE, "delivered")?;
    line(&mut chart, &[acknowledged], BLUE, "sends acknowledged")?;
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Runs of buckets with answers; between them there is no latency to draw.
fn latency_points(report: &Report, column: &[u64], pick: fn(&[u64]) -> u64) -> Vec<Points> {
    let Grouping { first, len, group } = grouped(report);
    let width = report.series.bucket_us as f64 / 1e6;
    let mut runs: Vec<Points> = vec![Vec::new()];
    for from in (first..len).step_by(group) {
        let values: Vec<u64> = (from..(from + group).min(len))
            .filter(|index| report.series.acknowledged[*index] > 0)
            .map(|index| column[index])
            .collect();
        if values.is_empty() {
            runs.push(Vec::new());
            continue;
        }
        let middle = (from as f64 + group as f64 / 2.0) * width;
        if let Some(run) = runs.last_mut() {
            run.push((middle, log_millis(pick(&values))));
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn latency(report: &Report, area: &Area<'_>) -> Drawn {
    let median = latency_points(report, &report.series.p50_us, |values| {
        values.iter().sum::<u64>() / values.len() as u64
    });
    let longest = latency_points(report, &report.series.max_us, |values| {
        values.iter().copied().max().unwrap_or(0)
    });
    let range = log_range(median.iter().chain(&longest).flatten().map(|point| point.1));
    let mut chart = chart_over_time(report, area, "Latency of sends", range.clone())?;
    let lines = (range.end - range.start) as usize + 1;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_desc("time, s")
        .x_label_formatter(&|seconds| short(*seconds))
        .y_desc("ms, logarithmic")
        .y_labels(lines)
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .y_label_formatter(&|value| log_label(*value))
        .draw()?;
    mark_rounds(report, &mut chart, range.end, false)?;
    line(&mut chart, &longest, RED, "longest of 100 ms")?;
    line(&mut chart, &median, BLUE, "median of 100 ms")?;
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn chart_over_time<'a, 'b>(
    report: &Report,
    area: &'a Area<'b>,
    caption: &str,
    y: std::ops::Range<f64>,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let buckets = report.series.acknowledged.len() as f64 * report.series.bucket_us as f64;
    let rounds = report
        .rounds
        .iter()
        .map(|round| round.end_us as f64)
        .fold(0.0, f64::max);
    let start = grouped(report).first as f64 * report.series.bucket_us as f64 / 1e6;
    let end = (buckets.max(rounds) / 1e6).max(start + 1.0);
    let chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 17).into_font().color(&INK))
        .margin_top(6)
        .margin_left(10)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(78)
        .build_cartesian_2d(start..end, y)?;
    Ok(chart)
}

/// A line at each fault, a band until the load was served again, and the name of the fault.
fn mark_rounds(report: &Report, chart: &mut Chart<'_, '_>, top: f64, with_names: bool) -> Drawn {
    let bottom = chart.y_range().start;
    let crowded = report.rounds.len() > 16;
    for (index, round) in report.struck().enumerate() {
        let fault = round.fault_us as f64 / 1e6;
        let served = round
            .milestones
            .acknowledged_us
            .map_or(round.end_us, |us| round.fault_us + us);
        let band = [(fault, bottom), (served as f64 / 1e6, top)];
        let color = PURPLE.mix(0.25).filled();
        let bands = chart.draw_series([Rectangle::new(band, color)])?;
        if index == 0 && with_names {
            bands
                .label("load not served")
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], color));
        }
        chart.draw_series([PathElement::new(
            vec![(fault, bottom), (fault, top)],
            RED.mix(0.8),
        )])?;
        if with_names {
            let name = if crowded {
                round.number.to_string()
            } else {
                format!("{} {} {}", round.number, round.fault, round.victim)
            };
            let style = (FONT, 12).into_font().color(&RED);
            chart.draw_series([Text::new(format!(" {name}"), (fault, top), style)])?;
        }
    }
    Ok(())
}

fn line(chart: &mut Chart<'_, '_>, runs: &[Points], color: RGBColor, label: &str) -> Drawn {
    let style = color.stroke_width(2);
    for (index, run) in runs.iter().enumerate() {
        let series = chart.draw_series(LineSeries::new(run.iter().copied(), style))?;
        if index == 0 {
            series.label(label).legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(3))
            });
        }
        // A run of one bucket is no line; show it all the same.
        if let [only] = run.as_slice() {
            chart.draw_series([Circle::new(*only, 2, color.filled())])?;
        }
    }
    Ok(())
}

fn legend<'b: 'a, 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> Drawn {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font((FONT, 13))
        .draw()?;
    Ok(())
}

/// One phase of a takeover: what it is called, its colour, and when it ends.
type Segment = (&'static str, RGBColor, fn(&Milestones) -> Option<u64>);

const SEGMENTS: [Segment; 6] = [
    ("until noticed", RED, |at| at.noticed_us),
    ("lock or lease", ORANGE, |at| at.obtained_us),
    ("journal replayed", SKY, |at| at.replayed_us),
    ("ports open", BLUE, |at| at.ports_open_us),
    ("first ack", GREEN, Milestones::served_us),
    ("load's first ack", PURPLE, |at| at.acknowledged_us),
];

/// The phases that were observed, each with its start and its end in microseconds.
fn segments(round: &Round) -> Vec<(usize, u64, u64)> {
    let mut from = 0;
    let mut found = Vec::new();
    for (index, (_, _, end)) in SEGMENTS.iter().enumerate() {
        if let Some(end) = end(&round.milestones).filter(|end| *end > from) {
            found.push((index, from, end));
            from = end;
        }
    }
    found
}

fn phases(report: &Report, area: &Area<'_>) -> Drawn {
    let rounds: Vec<&Round> = report.struck().collect();
    let ends: Vec<u64> = rounds
        .iter()
        .filter_map(|round| segments(round).last().map(|one| one.2))
        .collect();
    let (longest, shortest) = (ends.iter().max(), ends.iter().min());
    // Bars from zero are only honest on a linear axis; it must bear the shortest, too.
    let is_log = matches!((shortest, longest), (Some(s), Some(l)) if l / (*s).max(1) >= 12);
    let place = |us: u64| {
        if is_log {
            log_millis(us.max(1000))
        } else {
            us as f64 / 1000.0
        }
    };
    // The legend has its place to the right of the longest bar.
    let end = longest.map_or(1.0, |us| place(*us)) * 1.36;
    let rows = rounds.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(
            "Phases of each takeover",
            (FONT, 17).into_font().color(&INK),
        )
        .margin_left(10)
        .margin_right(12)
        .margin_bottom(8)
        .x_label_area_size(44)
        .y_label_area_size(78)
        .build_cartesian_2d(0.0..end.max(0.1), rows..0.0)?;
    let label = |value: &f64| {
        if is_log {
            log_label(*value)
        } else {
            format!("{value:.0}")
        }
    };
    let names: Vec<String> = rounds
        .iter()
        .map(|round| format!("{} {}", round.number, round.fault))
        .collect();
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(if is_log { end as usize + 1 } else { 8 })
        .x_desc(if is_log {
            "ms after the fault, logarithmic"
        } else {
            "ms after the fault"
        })
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .x_label_formatter(&label)
        .draw()?;
    row_names(area, &names)?;
    for (index, (name, color, _)) in SEGMENTS.iter().enumerate() {
        let bars = rounds.iter().enumerate().filter_map(|(row, round)| {
            let found = segments(round);
            let (_, from, to) = found.iter().find(|one| one.0 == index)?;
            let y = row as f64;
            let from = if *from == 0 { 0.0 } else { place(*from) };
            Some(Rectangle::new(
                [(from, y + 0.15), (place(*to), y + 0.85)],
                color.filled(),
            ))
        });
        chart
            .draw_series(bars)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled()));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Names of the rows beside the bars, as many as find room.
fn row_names(area: &Area<'_>, names: &[String]) -> Drawn {
    let (_, height) = area.dim_in_pixel();
    // The plot's inside: below the caption, above the axis and its description.
    let (top, bottom) = (29.0, f64::from(height) - 52.0);
    let pitch = (bottom - top) / names.len().max(1) as f64;
    let every = (14.0 / pitch).ceil().max(1.0) as usize;
    for (row, name) in names.iter().enumerate().step_by(every) {
        let y = top + (row as f64 + 0.5) * pitch - 6.0;
        let style = (FONT, 13).into_font().color(&INK);
        area.draw(&Text::new(name.clone(), (28, y as i32), style))?;
    }
    Ok(())
}

fn percentiles(report: &Report, area: &Area<'_>) -> Drawn {
    // Nines on the horizontal axis: 90 % is 1, 99 % is 2.
    let nines = |percent: f64| -(1.0 - percent / 100.0).max(1e-6).log10();
    let curves: Vec<Points> = report
        .curves
        .iter()
        .map(|curve| {
            curve
                .iter()
                .map(|(at, us)| (nines(*at), log_millis(*us)))
                .collect()
        })
        .collect();
    let range = log_range(curves.iter().flatten().map(|point| point.1));
    let widest = curves
        .iter()
        .flatten()
        .map(|point| point.0)
        .fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("Percentiles of latency", (FONT, 17).into_font().color(&INK))
        .margin_left(4)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(44)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..widest, range.clone())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_desc("percentile")
        .y_desc("ms, logarithmic")
        .x_labels(widest as usize + 1)
        .y_labels((range.end - range.start) as usize + 1)
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .x_label_formatter(&|nines| percent_label(*nines))
        .y_label_formatter(&|value| log_label(*value))
        .draw()?;
    let styles = [
        ("before the fault", BLUE),
        ("during", RED),
        ("after", GREEN),
    ];
    for (curve, (name, color)) in curves.into_iter().zip(styles) {
        if !curve.is_empty() {
            line(&mut chart, &[curve], color, name)?;
        }
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Decades of milliseconds.
fn log_millis(us: u64) -> f64 {
    (us.max(1) as f64 / 1000.0).log10()
}

/// Whole decades around `values`.
fn log_range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return -1.0..3.0;
    }
    let (low, high) = (low.floor(), high.ceil());
    low..high.max(low + 1.0)
}

/// A number without a needless fraction.
fn short(number: f64) -> String {
    if number.fract().abs() < 1e-6 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

/// Decades as the milliseconds they stand for.
fn log_label(decades: f64) -> String {
    let ms = 10f64.powf(decades);
    if ms < 0.95 {
        format!("{ms:.2}")
    } else {
        format!("{ms:.0}")
    }
}

/// Nines as the percentile they stand for: 0 is the smallest value, 2 is 99 %.
fn percent_label(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let digits = (nines - 2.0).ceil().max(0.0) as usize;
    format!("{percent:.digits$}")
}
