"""Progress lines: what is shown of a pull and a load, and how fast it goes."""

from modelgrid.cli.progress import RateMeter, bar, progress_line

GIB = 1024**3


def item(**more):
    return {"state": "pulling", "trouble": "", "phase": "", "reason": "the image is being pulled", "pull": None, **more}


def pull(done: int, total: int | None = 4 * GIB):
    layers = [
        {"id": "a", "status": "Downloading", "done_bytes": done, "total_bytes": total},
        {"id": "b", "status": "Pull complete", "done_bytes": GIB, "total_bytes": GIB},
    ]
    return item(pull={"image": "vllm/vllm-openai:v0.11.0", "layers": layers})


def test_a_pull_shows_bytes_rate_time_left_and_layers():
    meter = RateMeter()
    first = progress_line(pull(0), meter, 100.0, 160).plain
    assert (
        first == "  ◐ pulling  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  20 % 1.00 GiB of 5.00 GiB  layer 1 of 2  vllm/vllm-openai:v0.11.0"
    )
    later = progress_line(pull(GIB), meter, 102.0, 160).plain
    assert "  40 % 2.00 GiB of 5.00 GiB  512 MiB/s  6.0s left  layer 1 of 2" in later


def test_a_narrow_window_leaves_out_the_least_important():
    meter = RateMeter()
    progress_line(pull(0), meter, 100.0, 80)
    line = progress_line(pull(GIB), meter, 102.0, 80).plain
    assert len(line) < 80
    assert "2.00 GiB of 5.00 GiB" in line
    assert "vllm" not in line
    assert len(progress_line(pull(GIB), meter, 103.0, 30).plain) < 30


def test_sizes_that_are_not_known_yet_are_no_reason_to_fail():
    line = progress_line(pull(5, None), RateMeter(), 0.0, 160).plain
    assert "of 1.00 GiB" in line
    assert bar(0, 0).endswith("  0 %")
    assert bar(5, 4).endswith("100 %")


def test_a_rate_is_of_the_last_seconds_and_starts_anew_with_a_new_pull():
    meter = RateMeter()
    assert meter.read(0.0, 0) is None
    assert meter.read(0.5, 10) is None
    assert meter.read(2.0, 100) == 50.0
    for second in range(3, 30):
        rate = meter.read(float(second), 100)
    assert rate == 0.0
    assert meter.read(30.0, 5) is None


def test_a_load_shows_the_phase_and_trouble_comes_before_it():
    loading = item(state="starting", phase="loading weights 50 % (2 of 4)")
    assert progress_line(loading, RateMeter(), 0.0, 80).plain == "  ◐ starting  loading weights 50 % (2 of 4)"
    silent = item(state="starting", phase="loading", trouble="Docker does not answer")
    assert "Docker does not answer" in progress_line(silent, RateMeter(), 0.0, 80).plain


def test_nothing_of_the_engine_reaches_the_terminal_raw():
    line = progress_line(item(state="starting", phase="\x1b[2Jgone\u202e" + "x" * 500), RateMeter(), 0.0, 80)
    assert len(line.plain) < 80
    assert line.plain.startswith("  ◐ starting  gonexxx")
