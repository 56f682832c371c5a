module vcluster-backup/e2e/tools/ghz

go 1.26.0

require github.com/bojand/ghz v0.121.0
