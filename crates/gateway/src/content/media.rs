//! What a file is, by its name: its media type, and how far a browser is trusted with it.

/// How a browser may treat a file that is opened in a tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is played or shown by the browser itself and runs nothing.
    Play,
    /// It could hold scripts, or be taken for a page: it is shown without any right.
    Page,
    /// It is saved.
    Save,
}

/// A media type and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    pub media_type: &'static str,
    pub usage: Use,
}

const UNKNOWN: Media = Media {
    media_type: "application/octet-stream",
    usage: Use::Save,
};

/// By the last part of a name, in lower case.
#[rustfmt::skip]
const TYPES: &[(&[&str], &str, Use)] = &[
    // Video.
    (&["mp4", "m4v"], "video/mp4", Use::Play),
    (&["mkv", "mk3d"], "video/x-matroska", Use::Play),
    (&["webm"], "video/webm", Use::Play),
    (&["ogv"], "video/ogg", Use::Play),
    (&["avi"], "video/x-msvideo", Use::Play),
    (&["mov", "qt"], "video/quicktime", Use::Play),
    (&["mpg", "mpeg", "mpe", "vob"], "video/mpeg", Use::Play),
    (&["ts", "m2ts", "mts"], "video/mp2t", Use::Play),
    (&["wmv"], "video/x-ms-wmv", Use::Play),
    (&["flv"], "video/x-flv", Use::Play),
    (&["3gp"], "video/3gpp", Use::Play),
    // Audio.
    (&["mp3"], "audio/mpeg", Use::Play),
    (&["m4a", "m4b"], "audio/mp4", Use::Play),
    (&["aac"], "audio/aac", Use::Play),
    (&["flac"], "audio/flac", Use::Play),
    (&["ogg", "oga", "opus", "spx"], "audio/ogg", Use::Play),
    (&["wav"], "audio/wav", Use::Play),
    (&["weba"], "audio/webm", Use::Play),
    (&["mka"], "audio/x-matroska", Use::Play),
    (&["wma"], "audio/x-ms-wma", Use::Play),
    (&["aif", "aiff"], "audio/aiff", Use::Play),
    (&["ape"], "audio/x-ape", Use::Play),
    (&["mid", "midi"], "audio/midi", Use::Play),
    // Pictures. Those that can hold scripts are pages.
    (&["jpg", "jpeg", "jpe"], "image/jpeg", Use::Play),
    (&["png"], "image/png", Use::Play),
    (&["apng"], "image/apng", Use::Play),
    (&["gif"], "image/gif", Use::Play),
    (&["webp"], "image/webp", Use::Play),
    (&["avif"], "image/avif", Use::Play),
    (&["jxl"], "image/jxl", Use::Play),
    (&["heic"], "image/heic", Use::Play),
    (&["bmp"], "image/bmp", Use::Play),
    (&["ico"], "image/vnd.microsoft.icon", Use::Play),
    (&["tif", "tiff"], "image/tiff", Use::Play),
    (&["svg"], "image/svg+xml", Use::Page),
    // Browsers show these in a viewer of their own, which a sandbox keeps from starting.
    (&["pdf"], "application/pdf", Use::Play),
    // Text.
    (&["txt", "log", "nfo", "md", "markdown", "rst", "diz", "cue", "sfv", "md5", "sha1", "sha256", "ini", "cfg",
       "conf", "toml", "yaml", "yml", "c", "h", "cpp", "hpp", "rs", "py", "go", "java", "sh", "pl", "rb", "lua", "sql",
       "tex", "srt", "ass", "ssa", "sub"], "text/plain; charset=utf-8", Use::Page),
    (&["vtt"], "text/vtt; charset=utf-8", Use::Page),
    (&["csv"], "text/csv; charset=utf-8", Use::Page),
    (&["html", "htm"], "text/html; charset=utf-8", Use::Page),
    (&["xhtml", "xht"], "application/xhtml+xml", Use::Page),
    (&["css"], "text/css; charset=utf-8", Use::Page),
    (&["js", "mjs"], "text/javascript; charset=utf-8", Use::Page),
    (&["json", "map", "jsonl"], "application/json", Use::Page),
    (&["xml", "xsl", "opf"], "application/xml", Use::Page),
    // Playlists.
    (&["m3u8"], "application/vnd.apple.mpegurl", Use::Save),
    (&["m3u"], "audio/x-mpegurl", Use::Save),
    (&["pls"], "audio/x-scpls", Use::Save),
    (&["mpd"], "application/dash+xml", Use::Save),
    // Fonts and what runs in a sandbox of its own.
    (&["woff"], "font/woff", Use::Save),
    (&["woff2"], "font/woff2", Use::Save),
    (&["ttf"], "font/ttf", Use::Save),
    (&["otf"], "font/otf", Use::Save),
    (&["wasm"], "application/wasm", Use::Save),
    // Books and documents.
    (&["epub"], "application/epub+zip", Use::Save),
    (&["mobi", "azw3"], "application/x-mobipocket-ebook", Use::Save),
    (&["djvu"], "image/vnd.djvu", Use::Save),
    (&["cbz"], "application/vnd.comicbook+zip", Use::Save),
    (&["cbr"], "application/vnd.comicbook-rar", Use::Save),
    (&["rtf"], "application/rtf", Use::Save),
    (&["doc"], "application/msword", Use::Save),
    (&["docx"], "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Use::Save),
    (&["xls"], "application/vnd.ms-excel", Use::Save),
    (&["xlsx"], "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Use::Save),
    (&["ppt"], "application/vnd.ms-powerpoint", Use::Save),
    (&["pptx"], "application/vnd.openxmlformats-officedocument.presentationml.presentation", Use::Save),
    (&["odt"], "application/vnd.oasis.opendocument.text", Use::Save),
    (&["ods"], "application/vnd.oasis.opendocument.spreadsheet", Use::Save),
    (&["odp"], "application/vnd.oasis.opendocument.presentation", Use::Save),
    // Archives and images of disks.
    (&["zip"], "application/zip", Use::Save),
    (&["7z"], "application/x-7z-compressed", Use::Save),
    (&["rar"], "application/vnd.rar", Use::Save),
    (&["tar"], "application/x-tar", Use::Save),
    (&["gz", "tgz"], "application/gzip", Use::Save),
    (&["bz2", "tbz2"], "application/x-bzip2", Use::Save),
    (&["xz", "txz"], "application/x-xz", Use::Save),
    (&["zst"], "application/zstd", Use::Save),
    (&["iso"], "application/x-iso9660-image", Use::Save),
    (&["torrent"], "application/x-bittorrent", Use::Save),
];

impl Media {
    /// Of the file with this path.
    pub fn of(path: &str) -> Media {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((_, end)) = name.rsplit_once('.') else {
            return UNKNOWN;
        };
        let end = end.to_ascii_lowercase();
        let row = TYPES.iter().find(|(ends, ..)| ends.contains(&end.as_str()));
        row.map_or(UNKNOWN, |&(_, media_type, usage)| Media {
            media_type,
            usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_follows_from_the_end_of_a_name_in_any_case() {
        for (path, media_type) in [
            ("Film.MKV", "video/x-matroska"),
            ("a/b.c/cover.jpeg", "image/jpeg"),
            ("backup.tar.gz", "application/gzip"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("README", "application/octet-stream"),
            ("dir.mp4/README", "application/octet-stream"),
            ("setup.exe", "application/octet-stream"),
            ("trailing.", "application/octet-stream"),
        ] {
            assert_eq!(Media::of(path).media_type, media_type, "{path}");
        }
    }

    #[test]
    fn nothing_that_can_hold_scripts_is_played() {
        for path in [
            "a.html", "a.htm", "a.xhtml", "a.svg", "a.xml", "a.js", "a.xsl", "a.txt",
        ] {
            assert_eq!(Media::of(path).usage, Use::Page, "{path}");
        }
        for path in ["a.exe", "a.swf", "a.mht", "a.hta", "a"] {
            assert_eq!(Media::of(path).usage, Use::Save, "{path}");
        }
    }

    #[test]
    fn no_end_has_two_types() {
        let mut ends: Vec<&str> = TYPES
            .iter()
            .flat_map(|(ends, ..)| ends.iter().copied())
            .collect();
        let all = ends.len();
        ends.sort_unstable();
        ends.dedup();
        assert_eq!(ends.len(), all);
    }
}
