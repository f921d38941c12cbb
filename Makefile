# The first commands. All others are `./crate COMMAND`: `./crate --help` lists them.
.PHONY: run test
run test:
	@./crate $@

# <!-- template -->
.PHONY: test-all test-slow
test-all test-slow:
	@./crate $@

# <!-- /template -->
%:
	@echo "make $@ is ./crate $@ now: ./crate --help lists the commands." >&2; exit 2
