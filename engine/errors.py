"""The exceptions a user of Parallax can meet.

```
ParallaxError                everything below; the command line prints it and exits with 2
├── ModelError               the model file cannot be read, or is not a valid ONNX graph
│   ├── GraphError           an invariant of the intermediate representation is broken
│   └── ShapeError           an operator does not accept these shapes, dtypes or attributes
├── UnsupportedError         valid ONNX that this version (or this device) cannot run
├── InputError               a wrong input name, shape or dtype at a call of the user's
├── ConfigError              options that contradict one another or do not apply
│   ├── ClosedError          a session, runtime or tensor is used after its close
│   └── ModelReleased        a session is asked of an interpreter whose model was released
├── RunStopped               a callback stopped a run; outputs hold no result
├── DeviceError              a device is absent, ambiguous, or failed at run time
│   ├── CompileError         an OpenCL program did not build; carries the build log
│   └── DeviceMemoryError    an allocation failed; says what was asked and what is free
└── PlanError                the memory plan is wrong: an error of ours, exit code 70
```

ParallaxWarning is a UserWarning: what was asked for was done in another way.
"""


class ParallaxError(Exception):
    """Base of every error that Parallax raises on purpose."""


class ModelError(ParallaxError):
    """The model cannot be read, or is not a valid ONNX graph."""


class GraphError(ModelError):
    """An invariant of the graph is broken (dangling value, cycle, duplicate name)."""


class ShapeError(ModelError):
    """An operator does not accept these shapes, dtypes or attributes."""


class UnsupportedError(ParallaxError):
    """Valid ONNX that this version or this device cannot run."""


class InputError(ParallaxError):
    """A wrong input name, shape or dtype."""


class ConfigError(ParallaxError):
    """Options that contradict one another or do not apply."""


class ClosedError(ConfigError):
    """Use after close."""


class ModelReleased(ConfigError):
    """The interpreter's model data was released."""


class RunStopped(ParallaxError):
    """A callback asked to stop; what comes after `operator` was not computed.

    Attributes:
        operator: title of the last operator that ran.
    """

    def __init__(self, operator: str) -> None:
        super().__init__(operator)
        self.operator = operator

    def __str__(self) -> str:
        return f"the run was stopped by a callback after {self.operator}"


class DeviceError(ParallaxError):
    """A device is absent, ambiguous, or failed."""


class CompileError(DeviceError):
    """An OpenCL program did not build.

    Attributes:
        build_log: what the driver's compiler printed.
    """

    def __init__(self, message: str, build_log: str = "") -> None:
        super().__init__(message if not build_log else f"{message}\n{build_log}")
        self.build_log = build_log


class DeviceMemoryError(DeviceError):
    """An allocation failed; the message says how many bytes were asked and how many are free."""


class PlanError(ParallaxError):
    """The memory plan is wrong."""


class ParallaxWarning(UserWarning):
    """What was asked for was done in another way."""
