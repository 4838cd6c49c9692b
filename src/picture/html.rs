//! A picture as a page: the image, and a script that lights up relatives, pans, zooms and searches.

use super::xml::escape;
use super::{Picture, Style, svg};

const PAGE_STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

pub(super) fn draw(picture: &Picture, style: &Style) -> String {
    let title = escape(&picture.title);
    let image = svg::draw(picture, style);
    // Names are in the image only, never in the script: there is nothing in it to break out of.
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n{image}</main>\n\
         <nav aria-label=\"View\">\n\
         <input type=\"search\" id=\"search\" placeholder=\"Find a feature\" aria-label=\"Find a feature\">\n\
         <button type=\"button\" id=\"out\" title=\"Zoom out (-)\" aria-label=\"Zoom out\">−</button>\n\
         <button type=\"button\" id=\"in\" title=\"Zoom in (+)\" aria-label=\"Zoom in\">+</button>\n\
         <button type=\"button\" id=\"fit\" title=\"Show everything (0)\">Fit</button>\n</nav>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_page_that_needs_nothing_else() {
        for picture in [Picture::of_graph(&samples::large(60)), samples::changed(), samples::hostile()] {
            let page = draw(&picture, &Style::default());
            assert!(page.starts_with("<!DOCTYPE html>"));
            assert_eq!(page.matches("<script").count(), 1);
            assert_eq!(page.matches("</script>").count(), 1);
            assert_eq!(page.matches("</svg>").count(), 1);
            for outside in ["src=", "href=", "@import", "url(", "//www", "https:"] {
                let found = page.replace("http://www.w3.org/2000/svg", "");
                assert!(!found.contains(outside), "{outside}");
            }
        }
    }

    #[test]
    fn the_script_finds_what_it_looks_for() {
        let page = draw(&Picture::of_graph(&samples::small()), &Style::default());
        for id in ["search", "in", "out", "fit"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
            assert!(SCRIPT.contains(&format!("getElementById(\"{id}\")")), "{id}");
        }
        assert!(
            page.contains("class=\"graph\"")
                && page.contains("data-link=\"l")
                && page.contains("data-from=\"f")
        );
    }
}
