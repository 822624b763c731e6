//! Plots of what grows with something.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::Figures;

/// The plots: the file, the title, the figures, and what they are of.
const PLOTS: [(&str, &str, &str); 4] = [
    ("requests.svg", "Requests a second", "requests/s"),
    (
        "cpu.svg",
        "CPU of the server a request, µs",
        "µs of CPU a request",
    ),
    ("latency.svg", "Answered within, 99 % of requests, µs", "µs, p99"),
    (
        "memory.svg",
        "Memory of a session, idle, KiB",
        "KiB a session, idle",
    ),
];
const SIZE: (u32, u32) = (760, 380);
const BAR: RGBColor = RGBColor(0x0f, 0x76, 0x6e);

/// Draws those of which there are figures.
pub(super) fn draw(figures: &Figures, directory: &Path) -> anyhow::Result<()> {
    for (file, title, what) in PLOTS {
        let bars: Vec<(&str, f64)> = figures
            .of(what)
            .map(|figure| (figure.of.as_str(), figure.median()))
            .collect();
        if !bars.is_empty() {
            bar_chart(&directory.join(file), title, &bars).map_err(|error| anyhow!("{file}: {error}"))?;
        }
    }
    Ok(())
}

/// A bar for each, one below the other, with its number beside it.
fn bar_chart(
    path: &Path,
    title: &str,
    bars: &[(&str, f64)],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let count = bars.len();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .set_label_area_size(LabelAreaPosition::Left, 230)
        .build_cartesian_2d(0.0..most * 1.15, (0..count).into_segmented())?;
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(count)
        .y_label_formatter(&|at| match at {
            // The first is on top.
            SegmentValue::CenterOf(nth) if *nth < count => bars[count - 1 - nth].0.to_owned(),
            _ => String::new(),
        })
        .label_style(("sans-serif", 13))
        .draw()?;
    chart.draw_series(bars.iter().rev().enumerate().map(|(nth, (_, value))| {
        let mut bar = Rectangle::new(
            [
                (0.0, SegmentValue::Exact(nth)),
                (*value, SegmentValue::Exact(nth + 1)),
            ],
            BAR.filled(),
        );
        bar.set_margin(4, 4, 0, 0);
        bar
    }))?;
    let beside = TextStyle::from(("sans-serif", 13)).pos(Pos::new(HPos::Left, VPos::Center));
    chart.draw_series(bars.iter().rev().enumerate().map(|(nth, (_, value))| {
        let place = (*value, SegmentValue::CenterOf(nth));
        Text::new(format!(" {value:.0}"), place, beside.clone())
    }))?;
    Ok(area.present()?)
}
