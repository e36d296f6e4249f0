"""Layer 2, the archive: where raw runs and predictions are kept, by [archive] of beamline.toml."""

archive = beamline.open_archive()
catalog = None if archive is None else archive.client  # catalog[-1] is the last run; archive.derived has predictions
