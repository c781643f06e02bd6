"""The command line: `milepost`."""
