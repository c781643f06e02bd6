module milepost/benchmarks/relay/load

go 1.21
