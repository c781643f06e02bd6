"""What every process of Milepost shares: settings, logs and traces, start and stop, batching."""
