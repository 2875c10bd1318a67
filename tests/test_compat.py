"""Importing torchvision, whole or broken, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

BROKEN = """
    import torch
    # What the real package does first of all where its compiled library didn't load.
    @torch.library.register_fake("torchvision::nms")
    def meta_nms(dets, scores, iou_threshold):
        return dets
    @torch.library.register_fake("torchvision::qnms")
    def meta_qnms(dets, scores, iou_threshold):
        return dets
"""


def run(code: str, package: Path | None = None) -> str:
    """What `code` prints in a fresh interpreter, with the folder of a fake torchvision in front of the real."""
    environment = {**os.environ, "PYTHONPATH": str(package or ""), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake(folder: Path, init: str, **modules: str) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(init))
    for name, code in modules.items():
        (package / f"{name}.py").write_text(textwrap.dedent(code))
    return folder


def test_the_installed_torchvision_can_be_imported_and_timm_after_it() -> None:
    printed = run(
        """
        from cxrkit.compat import import_torchvision
        torchvision = import_torchvision()
        assert import_torchvision() is torchvision
        import sys
        assert sys.modules["torchvision"] is torchvision
        import timm
        from torchvision.transforms import functional
        print(timm.is_model("resnet18"), callable(functional.resize))
        """
    )
    assert printed == "True True"


def test_a_torchvision_without_operators_is_imported_and_its_operators_say_so(tmp_path: Path) -> None:
    package = fake(
        tmp_path,
        "import torchvision.extension\nimport torchvision._meta_registrations\ncomplete = True",
        extension="loads = []",
        _meta_registrations=BROKEN,
    )
    printed = run(
        """
        import sys, threading
        import torch
        try:
            import torchvision
        except RuntimeError as error:
            print(error)
        half_imported = sys.modules["torchvision.extension"]
        from cxrkit.compat import import_torchvision
        found = []
        threads = [threading.Thread(target=lambda: found.append(import_torchvision())) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert all(module is found[0] and module.complete for module in found) and len(found) == 4
        assert sys.modules["torchvision.extension"] is not half_imported
        import gc; gc.collect()
        try:
            torch.ops.torchvision.nms(torch.rand(2, 4), torch.rand(2), 0.5)
        except NotImplementedError:
            print("no implementation")
        """,
        package,
    )
    assert printed.splitlines() == ["operator torchvision::nms does not exist", "no implementation"]


def test_a_good_torchvision_is_left_alone(tmp_path: Path) -> None:
    package = fake(tmp_path, "name = 'good'")
    printed = run(
        """
        import torch
        from cxrkit.compat import import_torchvision
        print(import_torchvision().name, hasattr(torch.ops.torchvision, "nms"))
        """,
        package,
    )
    assert printed == "good False"


def test_other_failures_go_through(tmp_path: Path) -> None:
    for number, (init, told) in enumerate(
        [
            ("raise RuntimeError('something else')", "RuntimeError something else"),
            ("import a_package_that_is_missing", "ModuleNotFoundError No module named 'a_package_that_is_missing'"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        printed = run(
            """
            import torch
            from cxrkit.compat import import_torchvision
            for _ in range(2):
                try:
                    import_torchvision()
                except Exception as error:
                    print(type(error).__name__, error)
            assert not hasattr(torch.ops.torchvision, "nms")
            """,
            fake(folder, init),
        )
        assert printed.splitlines() == [told, told]


def test_what_is_put_off_is_there_again_also_after_errors_and_for_a_compiler() -> None:
    printed = run(
        """
        import sys, threading
        import torch
        from cxrkit.compat import compiler_put_off, import_torchvision

        disable, name = torch.compiler.disable, "torch._dynamo.utils"
        def restored():
            return torch.compiler.disable is disable and name not in sys.modules
        try:
            with compiler_put_off(), compiler_put_off():
                assert torch.compiler.disable is not disable and name in sys.modules
                raise ValueError("an import failed")
        except ValueError as error:
            print(error, restored())

        entered = threading.Event()
        def enter():
            with compiler_put_off():
                entered.set()
        with compiler_put_off():
            other = threading.Thread(target=enter)
            other.start()
            print("together" if entered.wait(0.2) else "in turn")
        other.join()
        import_torchvision()
        print(entered.is_set(), restored(), "torch._dynamo" in sys.modules)

        doubled = torch.compile(lambda x: 2 * x, backend="eager")
        print(doubled(torch.ones(1)).item(), sys.modules[name] is torch._dynamo.utils)
        with compiler_put_off():
            print(torch.compiler.disable is disable, sys.modules[name] is torch._dynamo.utils)
        """
    )
    assert printed.splitlines() == [
        "an import failed True",
        "in turn",
        "True True False",
        "2.0 True",
        "True True",
    ]
