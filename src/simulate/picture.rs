//! What was measured as a picture: latencies, and queues over the time. Called by `cli::simulate`.

use super::{Contender, Outcome, report::millis};
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};

const SIZE: (u32, u32) = (900, 740);
/// From where to where quantiles go: 50 % and 99.99 %.
const HALF: f64 = std::f64::consts::LOG10_2;
const NINES: f64 = 4.0;
/// Points of a line of quantiles.
const POINTS: u32 = 80;
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Draws `outcomes` as SVG.
///
/// # Errors
/// They cannot be drawn; why.
pub fn draw(outcomes: &[Outcome], title: &str) -> Result<String, String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        both(&root, outcomes, title).map_err(|why| why.to_string())?;
    }
    Ok(text)
}

fn both<'a>(root: &Area<'a>, outcomes: &[Outcome], title: &str) -> Result<(), Failed<'a>> {
    root.fill(&WHITE)?;
    let root = root.titled(title, (FONT, 18))?;
    let (above, below) = root.split_vertically(SIZE.1 / 2 + 20);
    latencies(&above, outcomes)?;
    queues(&below, outcomes)?;
    root.present()
}

/// Latency by quantile, where each nine has as much room.
fn latencies<'a>(area: &Area<'a>, outcomes: &[Outcome]) -> Result<(), Failed<'a>> {
    let lines: Vec<(Contender, Vec<(f64, f64)>)> = outcomes.iter().map(|one| (one.contender, quantiles(one))).collect();
    let values = || lines.iter().flat_map(|(_, line)| line.iter().map(|(_, value)| *value));
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.01, f64::max));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(HALF..NINES, (least.min(most) * 0.8..most * 1.25).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(5)
        .x_label_formatter(&|nines| percent(*nines))
        .x_desc("requests that were at least as fast (from 50 %)")
        .y_desc("latency in ms (log scale)")
        .y_label_formatter(&|millis| format!("{millis}"))
        .label_style((FONT, 13))
        .draw()?;
    for (contender, line) in lines {
        let color = color(contender);
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(contender.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .label_font((FONT, 12))
        .draw()
}

/// The longest queue over the time.
fn queues<'a>(area: &Area<'a>, outcomes: &[Outcome]) -> Result<(), Failed<'a>> {
    let most = outcomes.iter().flat_map(|one| &one.queues.0).max().copied().unwrap_or(0).max(10);
    let end = outcomes.iter().map(|one| one.queues.0.len() as f64 * one.queues.1).fold(1e-3, f64::max);
    let mut chart: ChartContext<'_, _, Cartesian2d<RangedCoordf64, _>> = ChartBuilder::on(area)
        .margin(10)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, (0.9..f64::from(most) * 1.25).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .y_desc("longest queue (log scale; 0 as 1)")
        .y_label_formatter(&|count| format!("{count}"))
        .label_style((FONT, 13))
        .draw()?;
    for one in outcomes {
        let step = one.queues.1;
        let points =
            (0u32..).zip(&one.queues.0).map(|(n, count)| ((f64::from(n) + 0.5) * step, f64::from(*count).max(1.0)));
        chart.draw_series(LineSeries::new(points, color(one.contender).stroke_width(2)))?;
    }
    Ok(())
}

/// The quantiles of `one`, in nines and milliseconds, as far as there are requests for them.
fn quantiles(one: &Outcome) -> Vec<(f64, f64)> {
    let nines = (0..=POINTS).map(|point| HALF + (NINES - HALF) * f64::from(point) / f64::from(POINTS));
    let told = nines.filter(|nines| 10f64.powf(*nines) <= one.latency.len() as f64);
    told.map(|nines| (nines, millis(one, 1.0 - 10f64.powf(-nines)).max(1e-3))).collect()
}

/// `90 %` is one nine, `99 %` are two.
fn percent(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let places = (nines.round() as usize).saturating_sub(2);
    format!("{percent:.places$} %")
}

/// Always the same one; those of Okabe and Ito, which the colour-blind tell apart, and some more.
fn color(contender: Contender) -> RGBColor {
    let (red, green, blue) = match contender {
        Contender::RoundRobin => (213, 94, 0),
        Contender::Random => (150, 150, 150),
        Contender::PowerOfTwoChoices => (0, 114, 178),
        Contender::LeastConnections => (0, 158, 115),
        Contender::LeastResponseTime => (0, 0, 0),
        Contender::LeastBandwidth => (204, 121, 167),
        Contender::CustomLoad => (86, 180, 233),
        Contender::IpHash => (181, 137, 0),
        Contender::Hash => (230, 159, 0),
        Contender::ExactLeastConnections => (120, 60, 160),
        Contender::ModuloHash => (139, 69, 19),
    };
    RGBColor(red, green, blue)
}
