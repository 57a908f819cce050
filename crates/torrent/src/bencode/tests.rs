//! Reading and writing, against BEP 3's examples and against each other.

use super::*;
use proptest::prelude::*;

fn strict(input: &[u8]) -> Result<Value<'_>, ErrorKind> {
    parse(input, Limits::STRICT).map_err(|e| e.kind)
}

fn lenient(input: &[u8]) -> Result<Value<'_>, ErrorKind> {
    parse(input, Limits::LENIENT).map_err(|e| e.kind)
}

#[test]
fn the_examples_of_bep_3_read_as_it_says() {
    assert_eq!(strict(b"4:spam").unwrap().as_str(), Some("spam"));
    assert_eq!(strict(b"i3e").unwrap().as_int(), Some(3));
    assert_eq!(strict(b"i-3e").unwrap().as_int(), Some(-3));
    assert_eq!(strict(b"i0e").unwrap().as_int(), Some(0));
    let list = strict(b"l4:spam4:eggse").unwrap().as_list().unwrap();
    let words: Vec<_> = list.iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(words, ["spam", "eggs"]);
    let dict = strict(b"d4:spaml1:a1:bee").unwrap();
    assert_eq!(dict.get("spam").unwrap().as_list().unwrap().len(), 2);
    assert_eq!(strict(b"i-0e"), Err(ErrorKind::BadNumber));
    assert_eq!(strict(b"i03e"), Err(ErrorKind::BadNumber));
}

#[test]
fn a_span_covers_exactly_the_bytes_of_a_value() {
    let input = b"d1:ai1e4:infod4:name3:xyze1:zlee";
    let info = strict(input).unwrap().get("info").unwrap();
    assert_eq!(info.raw(), b"d4:name3:xyze");
    assert_eq!(&input[info.span()], info.raw());
}

#[test]
fn every_way_to_be_cut_short_is_an_error() {
    let whole = b"d1:ai-12e1:bl4:spamdeee";
    assert!(strict(whole).is_ok());
    for len in 0..whole.len() {
        assert_eq!(
            lenient(&whole[..len]),
            Err(ErrorKind::Truncated),
            "cut at {len}"
        );
    }
}

#[test]
fn numbers_reach_both_ends_of_64_bits_and_no_further() {
    assert_eq!(
        strict(b"i9223372036854775807e").unwrap().as_int(),
        Some(i64::MAX)
    );
    assert_eq!(
        strict(b"i-9223372036854775808e").unwrap().as_int(),
        Some(i64::MIN)
    );
    assert_eq!(lenient(b"i9223372036854775808e"), Err(ErrorKind::TooLarge));
    assert_eq!(lenient(b"i-9223372036854775809e"), Err(ErrorKind::TooLarge));
    assert_eq!(
        lenient(b"i99999999999999999999999e"),
        Err(ErrorKind::TooLarge)
    );
    assert_eq!(
        lenient(b"99999999999999999999999:a"),
        Err(ErrorKind::TooLarge)
    );
    assert_eq!(
        lenient(b"18446744073709551615:a"),
        Err(ErrorKind::Truncated)
    );
}

#[test]
fn nonsense_is_refused_whatever_the_policy() {
    for bad in [
        &b"ie"[..],
        b"i-e",
        b"i--1e",
        b"i+1e",
        b"i1.5e",
        b"i1",
        b"-1:a",
        b"x",
        b"e",
        b"1a",
        b"l:e",
    ] {
        assert!(lenient(bad).is_err(), "{}", bad.escape_ascii());
    }
    assert_eq!(lenient(b"di1ei2ee"), Err(ErrorKind::KeyNotString));
    assert_eq!(lenient(b"dlei2ee"), Err(ErrorKind::KeyNotString));
    assert_eq!(lenient(b"d1:ae"), Err(ErrorKind::KeyWithoutValue));
    assert_eq!(lenient(b"d1:ai1e1:be"), Err(ErrorKind::KeyWithoutValue));
}

#[test]
fn sloppy_dicts_are_read_leniently_and_noted() {
    let unsorted = b"d1:bi1e1:ai2ee";
    assert_eq!(strict(unsorted), Err(ErrorKind::UnsortedKeys));
    assert_eq!(
        lenient(unsorted).unwrap().get("a").unwrap().as_int(),
        Some(2)
    );

    let twice = b"d1:ai1e1:ai2ee";
    assert_eq!(strict(twice), Err(ErrorKind::DuplicateKey));
    let (value, oddities) = parse_noting(twice, Limits::LENIENT).unwrap();
    assert_eq!(value.get("a").unwrap().as_int(), Some(1));
    assert_eq!(
        oddities,
        [Oddity {
            at: 9,
            kind: ErrorKind::DuplicateKey
        }]
    );

    let far_apart = b"d1:bi1e1:ai2e1:bi3ee";
    let (value, oddities) = parse_noting(far_apart, Limits::LENIENT).unwrap();
    assert_eq!(value.get("b").unwrap().as_int(), Some(1));
    assert_eq!(
        oddities.last(),
        Some(&Oddity {
            at: 0,
            kind: ErrorKind::DuplicateKey
        })
    );

    assert_eq!(strict(b"i1e\n"), Err(ErrorKind::Trailing));
    assert_eq!(lenient(b"i1e\n").unwrap().as_int(), Some(1));
    assert_eq!(lenient(b"i007e").unwrap().as_int(), Some(7));
    assert_eq!(lenient(b"i-0e").unwrap().as_int(), Some(0));
}

#[test]
fn a_payload_may_follow_a_prefix() {
    let (value, used) = parse_prefix(b"d8:msg_typei1ee\0\xffdata", Limits::STRICT).unwrap();
    assert_eq!(value.get("msg_type").unwrap().as_int(), Some(1));
    assert_eq!(used, 15);
}

#[test]
fn a_cursor_walks_a_tree_in_one_go() {
    let tree = strict(b"d1:ad1:bi1e1:clee1:di2ee")
        .unwrap()
        .as_dict()
        .unwrap();
    let mut cursor = tree.cursor();
    assert_eq!(cursor.key(), Some(&b"a"[..]));
    assert!(cursor.enter());
    assert_eq!(cursor.key(), Some(&b"b"[..]));
    assert!(!cursor.enter());
    assert_eq!(cursor.value().as_int(), Some(1));
    assert_eq!(cursor.key(), Some(&b"c"[..]));
    assert_eq!(cursor.value().raw(), b"le");
    assert_eq!(cursor.key(), None);
    assert_eq!(cursor.key(), Some(&b"d"[..]));
    assert_eq!(cursor.value().as_int(), Some(2));
    assert_eq!((cursor.key(), cursor.key()), (None, None));
}

#[test]
fn hostile_nesting_ends_at_the_depth_limit() {
    let deep = vec![b'l'; 1_000_000];
    assert_eq!(lenient(&deep), Err(ErrorKind::TooDeep));
    let fits = [
        vec![b'l'; MAX_DEPTH as usize],
        vec![b'e'; MAX_DEPTH as usize],
    ]
    .concat();
    let value = lenient(&fits).unwrap();
    assert_eq!(value.as_list().unwrap().len(), 1);
    assert_eq!(
        lenient(&[&b"l"[..], &fits, b"e"].concat()),
        Err(ErrorKind::TooDeep)
    );
}

#[test]
fn element_and_size_limits_hold() {
    let limits = Limits {
        elements: 3,
        ..Limits::STRICT
    };
    assert!(parse(b"li1ei2ee", limits).is_ok());
    assert_eq!(
        parse(b"li1ei2ei3ee", limits).unwrap_err().kind,
        ErrorKind::TooMany
    );
    assert_eq!(
        parse(b"d1:ai1e1:bi1ee", limits).unwrap_err().kind,
        ErrorKind::TooMany
    );
    assert_eq!(
        parse(b"i1e", Limits::STRICT.size(2)).unwrap_err().kind,
        ErrorKind::TooBig
    );
}

#[test]
fn a_value_is_three_words() {
    assert_eq!(size_of::<Value<'_>>(), 24);
}

#[test]
fn an_error_says_what_and_where() {
    let error = parse(b"d1:ai1e", Limits::STRICT).unwrap_err();
    assert_eq!(error.to_string(), "the data ends too early at byte 7");
}

fn any_owned() -> impl Strategy<Value = Owned> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Owned::Int),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Owned::Bytes),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let key = proptest::collection::vec(any::<u8>(), 0..6);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Owned::List),
            proptest::collection::btree_map(key, inner, 0..8).prop_map(Owned::Dict),
        ]
    })
}

fn owned(value: Value<'_>) -> Owned {
    match value.kind() {
        Kind::Int(n) => Owned::Int(n),
        Kind::Bytes(b) => b.into(),
        Kind::List(list) => Owned::List(list.iter().map(owned).collect()),
        Kind::Dict(dict) => Owned::dict(dict.iter().map(|(k, v)| (k, owned(v)))),
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_strictly(value in any_owned()) {
        let bytes = value.encode();
        let read = parse(&bytes, Limits::STRICT).unwrap();
        prop_assert_eq!(owned(read), value);
        prop_assert_eq!(Owned::from(read).encode(), bytes);
    }

    #[test]
    fn whatever_reads_strictly_is_written_the_same(bytes in "[dl]([0-3]:[a-c]{0,3}|i-?[0-9]{1,3}e|[dle]){0,12}e") {
        if let Ok(value) = parse(bytes.as_bytes(), Limits::STRICT) {
            prop_assert_eq!(owned(value).encode(), bytes.as_bytes());
        }
    }
}
