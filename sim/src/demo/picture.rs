//! The demo's picture: the share of answers the new version gave over time, beside the share that was asked for.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use plotters::prelude::*;

use super::timeline::{Act, Moment};
use crate::load::record::Record;

const SIZE: (u32, u32) = (1000, 420);
/// Answers are counted in bins of this length.
const BIN: Duration = Duration::from_millis(500);
/// Bins drawn; a longer demo is cut off.
const BINS_MAX: u32 = 2000;
const COLOURS: [RGBColor; 2] = [RGBColor(46, 160, 67), RGBColor(191, 135, 0)];
const ASKED: RGBColor = RGBColor(31, 35, 40);
const MARK: RGBColor = RGBColor(207, 34, 46);

/// A moment worth a line and a word.
#[derive(Debug, Clone)]
pub struct Mark {
    pub at: Instant,
    pub text: String,
}

/// Draws `path`.
///
/// # Errors
/// What plotters says: in practice, that the file cannot be written.
pub fn draw(path: &Path, record: &Record, moments: &[Moment], acts: &[Act], marks: &[Mark]) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| format!("drawing {}: {error}", path.display());
    let (Some(first), Some(last)) = (acts.first(), acts.last()) else { return Ok(()) };
    let since = |at: Instant| at.saturating_duration_since(first.from).as_secs_f64();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| words(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .caption("share of the answers given by the new version", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..since(last.to), 0.0..118.0)
        .map_err(|error| words(&error))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(6)
        .y_label_formatter(&|percent| if *percent > 100.0 { String::new() } else { format!("{percent:.0} %") })
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .x_desc("seconds")
        .draw()
        .map_err(|error| words(&error))?;
    for (act, colour) in acts.iter().zip(COLOURS.iter().cycle()) {
        let seen = seen(record, act).into_iter().map(|(at, percent)| (since(at), percent));
        chart
            .draw_series(AreaSeries::new(seen, 0.0, colour.mix(0.35)).border_style(colour))
            .map_err(|error| words(&error))?
            .label(format!("{} as users saw it", act.version))
            .legend(|(x, y)| Rectangle::new([(x, y - 4), (x + 16, y + 4)], colour.mix(0.5).filled()));
        let asked = steps(moments, act).into_iter().map(|(at, percent)| (since(at), percent));
        chart.draw_series(LineSeries::new(asked, ASKED.stroke_width(2))).map_err(|error| words(&error))?;
    }
    chart
        .draw_series(std::iter::once(PathElement::new(vec![(0.0, 0.0), (0.0, 0.0)], ASKED.stroke_width(2))))
        .map_err(|error| words(&error))?
        .label("asked of the load balancer")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], ASKED.stroke_width(2)));
    // In two rows: stages may follow each other closely.
    for (mark, top) in marks.iter().zip([116.0, 109.0].into_iter().cycle()) {
        let x = since(mark.at);
        let line = PathElement::new(vec![(x, 0.0), (x, top - 5.0)], MARK.mix(0.6).stroke_width(1));
        chart.draw_series(std::iter::once(line)).map_err(|error| words(&error))?;
        let word = Text::new(mark.text.clone(), (x, top), ("sans-serif", 12).into_font().color(&MARK));
        chart.draw_series(std::iter::once(word)).map_err(|error| words(&error))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleMiddle)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(|error| words(&error))?;
    root.present().map_err(|error| words(&error))
}

/// A mark at each moment at which a new weight was asked for.
#[must_use]
pub fn stages(moments: &[Moment], acts: &[Act]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for act in acts {
        let mut last = 0;
        for moment in moments.iter().filter(|moment| (act.from..act.to).contains(&moment.at)) {
            let Some(shares) = &moment.shares else { continue };
            let permille = shares.get(act.version).copied().unwrap_or_default();
            if permille > 0 && permille != last {
                marks.push(Mark { at: moment.at, text: format!("{} %", f64::from(permille) / 10.0) });
            }
            last = permille;
        }
    }
    marks
}

/// The new version's share in each bin that had answers, in percent.
fn seen(record: &Record, act: &Act) -> Vec<(Instant, f64)> {
    (0..BINS_MAX)
        .map(|bin| act.from + BIN * bin)
        .take_while(|from| *from < act.to)
        .filter_map(|from| Some((from + BIN / 2, record.share(act.version, from, from + BIN).percent()?)))
        .collect()
}

/// The share asked for as a line with corners, in percent.
fn steps(moments: &[Moment], act: &Act) -> Vec<(Instant, f64)> {
    let mut points = vec![(act.from, 0.0)];
    for moment in moments {
        let Some(shares) = &moment.shares else { continue };
        let percent = f64::from(shares.get(act.version).copied().unwrap_or_default()) / 10.0;
        let at = moment.at.clamp(act.from, act.to);
        let before = points.last().map_or(0.0, |(_, percent)| *percent);
        points.extend([(at, before), (at, percent)]);
    }
    let end = points.last().map_or(0.0, |(_, percent)| *percent);
    points.push((act.to, end));
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::{Answer, Kind};

    #[test]
    fn the_picture_shows_what_was_seen_what_was_asked_and_the_marks() {
        let start = Instant::now();
        let record = Record::starting_at(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        for ms in 0..4000 {
            let version = if ms > 2000 && ms % 4 == 0 { "v2" } else { "v1" };
            let answer = Answer::Status { status: 200, version: Some(version.to_owned()) };
            record.answered(Kind { session: false, fresh: false }, at(ms), at(ms), answer);
        }
        let moments = [Moment { at: at(2000), shares: Some([("v2".to_owned(), 250)].into()) }];
        let act = Act { version: "v2", from: start, to: at(4000), promised: &[] };
        let percent: Vec<f64> = seen(&record, &act).into_iter().map(|(_, percent)| percent.round()).collect();
        assert_eq!(percent, [0.0, 0.0, 0.0, 0.0, 25.0, 25.0, 25.0, 25.0]);
        assert_eq!(steps(&moments, &act), [(start, 0.0), (at(2000), 0.0), (at(2000), 25.0), (at(4000), 25.0)]);

        let marks = stages(&moments, std::slice::from_ref(&act));
        assert_eq!(marks.iter().map(|mark| (mark.at, mark.text.as_str())).collect::<Vec<_>>(), [(at(2000), "25 %")]);

        let path = std::env::temp_dir().join(format!("cutover-picture-{}.svg", std::process::id()));
        draw(&path, &record, &moments, &[act], &[Mark { at: at(3000), text: "rollback".to_owned() }]).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for word in ["<svg", "v2 as users saw it", "asked of the load balancer", "rollback", "seconds"] {
            assert!(svg.contains(word), "{word}");
        }
    }
}
