//! A plain page with the files of a transfer.

use std::fmt::Write;

use api::ContentListing;

use super::names;

/// Most files on it: a page of a few MB.
pub(crate) const MOST: usize = 10_000;

/// The page.
pub(crate) fn page(listing: &ContentListing) -> String {
    let name = names::html(&listing.name);
    let mut page = format!(
        "<!doctype html>\n<html><head><meta charset=\"utf-8\"><title>{name}</title></head>\n<body><h1>{name}</h1>\n<ul>\n"
    );
    let mut add = |line: std::fmt::Arguments<'_>| {
        page.write_fmt(line)
            .expect("a String takes all that is written")
    };
    for (path, size) in &listing.files {
        let (url, path) = (names::encoded(path), names::html(path));
        add(format_args!(
            "<li><a href=\"{url}\">{path}</a> ({size} bytes)</li>\n"
        ));
    }
    add(format_args!("</ul>\n"));
    let more = listing.total.saturating_sub(listing.files.len());
    if more > 0 {
        add(format_args!("<p>… and {more} more files.</p>\n"));
    }
    add(format_args!("</body></html>\n"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_links_whatever_they_hold() {
        let listing = ContentListing {
            name: "<b>x</b>".to_owned(),
            files: vec![("a b/\"><script>.txt".to_owned(), 5)],
            total: 3,
        };
        let page = page(&listing);
        assert!(page.contains("<h1>&lt;b&gt;x&lt;/b&gt;</h1>"), "{page}");
        assert!(page.contains("<a href=\"/a%20b/%22%3E%3Cscript%3E.txt\">a b/&quot;&gt;&lt;script&gt;.txt</a> (5 bytes)"), "{page}");
        assert!(page.contains("and 2 more files"), "{page}");
    }
}
