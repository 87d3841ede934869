"""Sensors of a device in the kernel's hwmon layout (Documentation/hwmon/sysfs-interface.rst)."""

from pathlib import Path

from modelgrid.adapters.pci.host import read_int, read_text


def hwmon_folder(device: Path) -> Path | None:
    """Return the first hwmon folder of a device in sysfs, or None: integrated parts and guests have none."""
    return next(iter(sorted((device / "hwmon").glob("hwmon*"))), None)


def temperature(hwmon: Path | None, labels: tuple[str, ...]) -> float | None:
    """Return degrees Celsius of the first sensor that has one of `labels`, tried in their order.

    Falls back to the first sensor without a label.
    """
    if hwmon is None:
        return None
    by_label: dict[str, Path] = {}
    for sensor in sorted(hwmon.glob("temp*_input")):
        label = (read_text(sensor.with_name(sensor.name.replace("_input", "_label"))) or "").strip()
        by_label.setdefault(label, sensor)
    for label in (*labels, ""):
        milli = read_int(by_label[label]) if label in by_label else None
        if milli is not None:
            return milli / 1000
    return None


def micro(hwmon: Path | None, *names: str) -> float | None:
    """Return the first attribute of `names` that can be read, given in millionths (watts, joules), or None."""
    for name in names if hwmon is not None else ():
        value = read_int(hwmon / name)  # type: ignore[operator]  # guarded above
        if value is not None:
            return value / 1_000_000
    return None


def megahertz(hwmon: Path | None, label: str) -> int | None:
    """Return the clock called `label` (`sclk`, `mclk`), or None."""
    if hwmon is None:
        return None
    for sensor in sorted(hwmon.glob("freq*_input")):
        if (read_text(sensor.with_name(sensor.name.replace("_input", "_label"))) or "").strip() == label:
            hertz = read_int(sensor)
            return None if hertz is None else hertz // 1_000_000
    return None
