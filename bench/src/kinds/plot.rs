//! The figures as a picture: one panel for each row, bars on a logarithmic scale, since they lie four powers of ten apart. Plain SVG, which any browser shows and any
//! diff reads; a plotting crate was rejected for forty rectangles.

use super::short;
use std::fmt::Write;

pub struct Panel {
    pub title: &'static str,
    pub unit: &'static str,
    pub what: &'static str,
    /// In the order of the picture: name and value.
    pub bars: Vec<(&'static str, f64)>,
}

const WIDTH: f64 = 760.0;
const NAMES: f64 = 150.0;
const VALUES: f64 = 90.0;
const BAR: f64 = 18.0;
const STEP: f64 = 24.0;
const HEAD: f64 = 52.0;
const GAP: f64 = 22.0;

/// What runs on squall stands out.
fn colour(name: &str) -> &'static str {
    match name {
        super::FIBER => "#0b6e8f",
        super::TASK | super::GENERATOR => "#5aa9c4",
        _ => "#b9bec4",
    }
}

pub fn draw(panels: &[Panel], under: &str) -> String {
    let height: f64 =
        panels.iter().map(|panel| HEAD + STEP * panel.bars.len() as f64 + GAP).sum::<f64>() + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut top = 0.0;
    for panel in panels {
        let (title, unit, what) = (panel.title, panel.unit, panel.what);
        text(
            &mut svg,
            12.0,
            top + 26.0,
            "#1b1f23",
            "start",
            &format!("{title}, {unit}"),
            " font-weight=\"bold\" font-size=\"15\"",
        );
        text(&mut svg, 12.0, top + 43.0, "#57606a", "start", what, " font-size=\"11\"");
        top += HEAD;
        for (name, value, length) in lengths(&panel.bars) {
            text(&mut svg, NAMES - 8.0, top + 14.0, "#1b1f23", "end", name, "");
            _ = writeln!(
                svg,
                "<rect x=\"{NAMES}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{}\"/>",
                colour(name)
            );
            text(&mut svg, NAMES + length + 6.0, top + 14.0, "#1b1f23", "start", &short(value), "");
            top += STEP;
        }
        top += GAP;
    }
    text(
        &mut svg,
        12.0,
        top + 8.0,
        "#57606a",
        "start",
        &format!("Logarithmic scales. {under}"),
        " font-size=\"11\"",
    );
    svg + "</svg>\n"
}

/// How long each bar is: the smallest value is a stub, the largest fills the room.
fn lengths(bars: &[(&'static str, f64)]) -> Vec<(&'static str, f64, f64)> {
    let logs = || bars.iter().map(|(_, value)| value.max(0.1).log10());
    let (low, high) = (logs().fold(f64::MAX, f64::min), logs().fold(f64::MIN, f64::max));
    let room = WIDTH - NAMES - VALUES;
    let share = |value: f64| if high > low { (value.max(0.1).log10() - low) / (high - low) } else { 1.0 };
    bars.iter().map(|(name, value)| (*name, *value, room * (0.04 + 0.96 * share(*value)))).collect()
}

fn text(svg: &mut String, x: f64, y: f64, fill: &str, anchor: &str, what: &str, more: &str) {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\" text-anchor=\"{anchor}\"{more}>{what}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_logarithms() {
        let bars = lengths(&[("a", 1.0), ("b", 100.0), ("c", 10.0)]);
        let room = WIDTH - NAMES - VALUES;
        assert!((bars[0].2 - room * 0.04).abs() < 1e-9 && (bars[1].2 - room).abs() < 1e-9);
        assert!((bars[2].2 - room * 0.52).abs() < 1e-9);
    }

    #[test]
    fn every_bar_and_title_is_drawn_and_texts_are_escaped() {
        let panel =
            Panel { title: "a < b", unit: "ns", what: "x & y", bars: vec![("one", 1.0), ("two", 2.0)] };
        let svg = draw(&[panel], "somewhere");
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("a &lt; b, ns") && svg.contains("x &amp; y") && svg.contains("somewhere"));
        assert!(svg.ends_with("</svg>\n"));
    }
}
