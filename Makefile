# The first commands. All others are `./crate COMMAND`: `./crate --help` lists them.
.PHONY: run test
run test:
	@./crate $@

# <!-- template -->
.PHONY: test-all test-slow
test-all test-slow:
	@./crate $@

# The commands that replace targets which this file had.
was_bench-quick = bench --quick
was_check = contract IMAGE --build BUILD
was_engine-remove = engine remove
was_engine-stop = engine stop
was_help = --help
was_lock-check = check

# <!-- /template -->
%:
	$(error make has no target $@: type ./crate $(or $(was_$@),$@). ./crate --help lists the commands)
