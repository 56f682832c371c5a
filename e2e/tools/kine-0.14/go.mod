module vcluster-backup/e2e/tools/kine-0.14

go 1.26.5

require github.com/k3s-io/kine v0.14.10
