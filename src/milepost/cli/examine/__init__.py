"""What `milepost doctor` looks at: gathering (I/O) apart from judging (pure)."""
