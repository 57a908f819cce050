#!/usr/bin/env python3
"""Makes the golden torrents beside this file with libtorrent.

    python3 -m venv /tmp/lt && /tmp/lt/bin/pip install libtorrent==2.1.1
    /tmp/lt/bin/python make.py

Each file of files.txt is `attributes length seed path`; byte j of its contents is
(31 j + seed (j // 251) + seed) mod 256, so tests make the same contents again. Attributes are
letters of BEP 47 or `-`; of a link, the last column is `path -> target`.
"""

import os
import shutil
import sys
import tempfile
import warnings

import libtorrent as lt

warnings.simplefilter("ignore")
here = os.path.dirname(os.path.abspath(__file__))


def contents(length, seed):
    return bytes((31 * j + seed * (j // 251) + seed) & 255 for j in range(length))


def entries():
    with open(os.path.join(here, "files.txt"), encoding="utf-8") as lines:
        for line in lines:
            attrs, length, seed, path = line.rstrip("\n").split(" ", 3)
            path, _, target = path.partition(" -> ")
            yield attrs, int(length), int(seed), path, target


def flags(attrs):
    result = lt.file_flags_t.flag_executable if "x" in attrs else 0
    result |= lt.file_flags_t.flag_hidden if "h" in attrs else 0
    result |= lt.file_flags_t.flag_symlink if "l" in attrs else 0
    return result


def make(name, top, listed, piece_length, kind, decorate=None):
    kinds = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}
    files = [lt.create_file_entry(path, length, flags(attrs), 0, target) for attrs, length, path, target in listed]
    torrent = lt.create_torrent(files, piece_length, kinds[kind] | lt.create_torrent.symlinks)
    torrent.set_creation_date(0)
    if decorate:
        decorate(torrent)
    lt.set_piece_hashes(torrent, top)
    data = lt.bencode(torrent.generate())
    with open(os.path.join(here, f"{name}.torrent"), "wb") as out:
        out.write(data)
    info = lt.torrent_info(data).info_hashes()
    print(name, info.v1 if info.has_v1() else "-", info.v2 if info.has_v2() else "-", len(data))


def decorate(torrent):
    torrent.add_tracker("http://one.example/announce", 0)
    torrent.add_tracker("udp://two.example:80", 1)
    torrent.add_url_seed("http://seed.example/")
    torrent.set_comment("a comment")
    torrent.set_creator("golden")
    torrent.set_creation_date(1_700_000_000)
    torrent.set_priv(True)
    torrent.add_collection("golden things")
    torrent.add_similar_torrent(lt.sha1_hash(b"\x11" * 20))


def main():
    top = tempfile.mkdtemp()
    listed = []
    for attrs, length, seed, path, target in entries():
        full = os.path.join(top, "golden", path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if "l" not in attrs:
            with open(full, "wb") as out:
                out.write(contents(length, seed))
        listed.append((attrs, length, "golden/" + path, target))
    listed.sort(key=lambda file: [part.encode() for part in file[2].split("/")])
    with open(os.path.join(top, "single.bin"), "wb") as out:
        out.write(contents(100_000, 7))
    single = [("x", 100_000, "single.bin", "")]
    for kind in ("v1", "v2", "hybrid"):
        for piece_length in (16 * 1024, 64 * 1024):
            make(f"folder-{kind}-{piece_length // 1024}", top, listed, piece_length, kind)
        make(f"single-{kind}-32", top, single, 32 * 1024, kind)
    make("decorated-hybrid-32", top, single, 32 * 1024, "hybrid", decorate)
    shutil.rmtree(top)


sys.exit(main())
