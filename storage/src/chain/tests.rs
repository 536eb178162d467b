use super::*;

#[test]
fn names_are_parsed_strictly_and_others_ignored() {
    let name = SegmentName {
        number: SegmentNumber(7),
        epoch: Epoch(12),
    };
    assert_eq!(name.path(), Path::new("journal/0000000007-0000000012.seg"));
    assert_eq!(SegmentName::parse("0000000007-0000000012.seg"), Some(name));
    assert_eq!(SegmentName::parse("7-12.seg"), Some(name));
    for other in [
        "7-12",
        "+7-12.seg",
        "7-.seg",
        "-12.seg",
        "4294967296-1.seg",
        "7-12.seg.old",
    ] {
        assert_eq!(SegmentName::parse(other), None, "{other}");
    }
    let name = CheckpointName {
        lsn: Lsn(u64::MAX),
        epoch: Epoch(1),
    };
    assert_eq!(
        name.path(),
        Path::new("checkpoints/18446744073709551615-0000000001.ckpt")
    );
    assert_eq!(name.temporary_path().extension(), Some("tmp".as_ref()));
    assert_eq!(
        CheckpointName::parse("18446744073709551615-0000000001.ckpt"),
        Some(name)
    );
    assert_eq!(CheckpointName::parse("18446744073709551616-1.ckpt"), None);
}

#[test]
fn a_survey_knows_the_highest_epoch_and_the_newest_segment() {
    let segment = |number, epoch| SegmentName {
        number: SegmentNumber(number),
        epoch: Epoch(epoch),
    };
    let survey = Survey {
        segments: vec![segment(3, 1), segment(4, 1), segment(5, 2), segment(6, 1)],
        checkpoints: Vec::new(),
        claims: vec![Epoch(2), Epoch(4)],
    };
    assert_eq!(survey.highest_epoch(), Epoch(4));
    assert_eq!(survey.newest_segment(), Some(segment(5, 2)));
    assert_eq!(
        survey.segments_of(Epoch(1)),
        [segment(3, 1), segment(4, 1), segment(6, 1)]
    );
    assert_eq!(survey.next_number(), SegmentNumber(7));
    assert_eq!(Survey::default().highest_epoch(), Epoch(0));
}
