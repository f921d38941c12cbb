"""Mutations of the sample and of the doctor."""

from template.tests.edits import Mutation, at_end, replace

IN_DEV = "dev/test_sample_in_dev.py::"
RUNS = "runtime/test_any_user.py::"
SAMPLE = "runtime/test_sample.py::"
TRAINING = "the sample needs an unbroken torch"

DEV = [
    Mutation(
        "the sample is wrong",
        f"{IN_DEV}test_sample_tests",
        "test_shape_and_range",
        replace("src/digits/data.py", "MAXIMUM = 16", "MAXIMUM = 8"),
        real=True,
    ),
    Mutation(
        "the doctor does not look at the lock",
        "dev/test_doctor_in_dev.py::test_other_torch",
        "torch is not this image's build",
        replace("torchcrate/doctor.py", "        if wrong:", "        if False:"),
    ),
]

RUNTIME = [
    Mutation(
        "another default command",
        f"{SAMPLE}test_command",
        "['python'] == ['python', '-m', 'digits']",
        at_end("runtime", 'CMD ["python"]'),
    ),
    Mutation(
        "matplotlib cannot write its cache",
        f"{RUNS}test_caches",
        "mkdir -p failed for path /app/matplotlib",
        at_end("runtime", "ENV MPLCONFIGDIR=/app/matplotlib"),
        real=True,
    ),
    Mutation(
        "the sample does not learn",
        f"{SAMPLE}test_training",
        ">= 96",
        replace("src/digits/train.py", "lr=2e-3", "lr=0.0"),
        real=True,
        apart=TRAINING,
    ),
    Mutation(
        "signals are ignored",
        f"{SAMPLE}test_stop_and_resume",
        "it took 3",  # 30 seconds and the engine's own
        replace("src/digits/train.py", "received.append(number)", "pass"),
        real=True,
        apart=TRAINING,
    ),
    Mutation(
        "the doctor always fails",
        "runtime/test_doctor.py::test_no_driver",
        "(1, []) == (0, [])",
        replace("torchcrate/doctor.py", "return bool(problems)", "return 1"),
        real=True,
        apart=TRAINING,
    ),
    Mutation(
        "the sample does not look at the container's limit",
        f"{SAMPLE}test_cpu_limit",
        "'2' == '1'",
        replace("src/digits/train.py", "if quota.isdigit():", "if False:"),
        real=True,
        apart=TRAINING,
    ),
    Mutation(
        "the doctor does not look at the container's limit",
        "runtime/test_doctor.py::test_cpu_limit",
        "torch starts 2 thread(s), and this container may use 1 CPU(s)",
        replace("torchcrate/doctor.py", "if quota.isdigit() else limit", "if False else limit"),
        real=True,
        apart=TRAINING,
    ),
    Mutation(
        "shared memory is not checked",
        f"{SAMPLE}test_little_shared_memory",
        "unable to allocate shared memory",
        replace("src/digits/data.py", "if needed > free:", "if False:"),
        real=True,
        apart=TRAINING,
    ),
]

STAGES = {"dev": DEV, "runtime": RUNTIME}
