"""Train the default model: resumable, seeded, within a budget of minutes.

RUN/state.pt        the state of the run, to resume it (written atomically, every few minutes)
RUN/checkpoint.tar  the averaged weights, rounded to float16 values, for the exporter
RUN/log.jsonl       one JSON object per line: step, losses, scores, speed
"""

import copy
import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import Tensor

from fsnp_onnx import FsnpError
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from training.bank import SAMPLE_RATE, Bank
from training.disturbance import disturbance
from training.loss import (
    HOP,
    N_FFT,
    decompress,
    istft,
    keep_bins,
    kept_mask,
    si_sdr_db,
    spectral_loss,
    stft,
)
from training.mix import Mixer
from training.network import (
    Variant,
    fresh_network,
    made_causal,
    renew_attention,
    toml_args,
    trained_network,
)

WARM_UP = 0.03  # share of the budget
AVERAGING_SPAN = 0.08  # span of the moving average of the weights, share of the steps so far
MAX_GRADIENT_NORM = 1.0
DISTURBANCE_WEIGHT = 0.04  # its gradient is then about as strong as that of the spectral loss
VALIDATION_SEED = 2_024
BANK = Path("training/data/bank")


@dataclass
class Run:
    """The state of one run, all that a resumed run needs."""

    network: FullSubNetPlus
    average: FullSubNetPlus
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0

    def save(self, folder: Path, args: dict[str, Any]) -> None:
        """Write state.pt and checkpoint.tar, each atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        write(state, folder / "state.pt")
        weights = {
            name: weight.detach().cpu().half().float()
            for name, weight in self.average.state_dict().items()
        }
        acoustics = {"n_fft": N_FFT, "win_length": N_FFT, "sr": SAMPLE_RATE, "hop_length": HOP}
        config = {"acoustics": acoustics, "model": {"args": args}}
        progress = {"epoch": self.step, "elapsed_s": self.elapsed_s}
        checkpoint = {"model": weights, "config": config} | progress
        write(checkpoint, folder / "checkpoint.tar")

    def load(self, folder: Path, device: torch.device) -> None:
        """Continue from state.pt, or from the averages in checkpoint.tar where nothing else was kept."""
        file, averages = folder / "state.pt", folder / "checkpoint.tar"
        if file.exists() or not averages.exists():
            state = torch.load(file, map_location=device, weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
        else:
            saved = torch.load(averages, map_location=device, weights_only=True)
            state = {"network": saved["model"], "average": saved["model"], "step": saved["epoch"]}
            state["elapsed_s"] = saved.get("elapsed_s", 0.0)  # older ones lack it
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def write(content: dict[str, Any], file: Path) -> None:
    """Save under a temporary name first: a killed run leaves the previous file intact."""
    part = file.with_suffix(".part")
    torch.save(content, part)
    part.replace(file)


def start(network: FullSubNetPlus, device: str) -> Run:
    """A run before its first step, its networks on the device."""
    network = network.to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=1e-3, betas=(0.9, 0.98), fused=device.startswith("cuda")
    )
    return Run(network, copy.deepcopy(network), optimizer)


def schedule(spent: float) -> float:
    """Factor of the peak learning rate: linear warm-up, then cosine, over the share spent."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(spent, 1.0)))
    return min(1.0, spent / WARM_UP + 0.01) * (cosine + 0.002)


def train_step(run: Run, noisy: Tensor, target: Tensor, groups: int) -> tuple[float, float]:
    """One update of weights and average; returns the loss and the gradient's norm."""
    spectrum, wanted = stft(noisy), stft(target)
    scale = spectrum.abs().mean((1, 2), keepdim=True) + 1e-9
    scale = torch.cat([scale[g::groups] for g in range(groups)])
    mask = kept_mask(run.network, spectrum, groups)
    enhanced = mask * keep_bins(spectrum, groups)
    kept = keep_bins(wanted, groups)
    audible = disturbance(enhanced, kept, scale, groups).mean()
    loss = spectral_loss(enhanced, kept, scale) + DISTURBANCE_WEIGHT * audible
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), MAX_GRADIENT_NORM).item()
    run.step += 1
    if not math.isfinite(norm):  # one broken mixture does not end a run
        return math.nan, math.nan
    run.optimizer.step()
    share = 1 / (1 + AVERAGING_SPAN * run.step)
    with torch.no_grad():
        averages: list[Tensor] = list(run.average.parameters())
        weights: list[Tensor] = list(run.network.parameters())
        torch._foreach_lerp_(averages, weights, share)
    return loss.item(), norm


@torch.no_grad()
def validate(network: FullSubNetPlus, noisy: Tensor, target: Tensor) -> dict[str, float]:
    """Both parts of the loss over all bins, and SI-SDR before and after, means over the rows."""
    losses, disturbances, enhanced = [], [], []
    for some_noisy, some_target in zip(torch.split(noisy, 8), torch.split(target, 8), strict=True):
        spectrum = stft(some_noisy)
        mask = network(spectrum.real.contiguous(), spectrum.imag.contiguous())
        result = spectrum * decompress(mask.transpose(1, 2))
        scale = spectrum.abs().mean((1, 2), keepdim=True) + 1e-9
        wanted = stft(some_target)
        losses.append(spectral_loss(result, wanted, scale))
        disturbances.append(disturbance(result, wanted, scale, groups=1))
        enhanced.append(istft(result, noisy.shape[-1]))
    heard = target.any(-1)  # in a long pause there is no speech to compare with
    return {
        "spectral_loss": torch.stack(losses).mean().item(),
        "disturbance": torch.cat(disturbances).mean().item(),
        "si_sdr_noisy_db": si_sdr_db(noisy[heard], target[heard]).mean().item(),
        "si_sdr_enhanced_db": si_sdr_db(torch.cat(enhanced)[heard], target[heard]).mean().item(),
    }


@dataclass(frozen=True)
class Plan:
    """Budget, learning rate and batches of a run."""

    budget_s: float
    n_steps: int | None
    peak_learning_rate: float
    batch_size: int
    groups: int
    folder: Path
    args: dict[str, Any]

    @property
    def pause_s(self) -> float:
        """Seconds between two lines of the log, each with a validation and a saved state."""
        return min(max(self.budget_s / 20, 15.0), 240.0)

    def spent(self, run: Run) -> float:
        """Share of the run that is done, in steps if their number is given, else in seconds."""
        return run.step / self.n_steps if self.n_steps else run.elapsed_s / self.budget_s


def train(run: Run, mixer: Mixer, held_out: tuple[Tensor, Tensor], plan: Plan) -> None:
    """Train until the budget is spent; log, validate and save at intervals."""
    started = time.monotonic() - run.elapsed_s
    last_s, last_step, losses, norms = run.elapsed_s, run.step, [], []
    words = TextColumn("{task.fields[words]}")
    with Progress(*Progress.get_default_columns(), words) as progress:
        bar = progress.add_task("training", total=1.0, words="")
        while plan.spent(run) < 1:
            rate = plan.peak_learning_rate * schedule(plan.spent(run))
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            noisy, target = mixer.batch(run.step, plan.batch_size)
            loss, norm = train_step(run, noisy, target, plan.groups)
            losses.append(loss)
            norms.append(norm)
            run.elapsed_s = time.monotonic() - started
            spent = plan.spent(run)
            progress.update(bar, completed=spent, words=f"step {run.step} loss {loss:.4f}")
            if run.elapsed_s - last_s < plan.pause_s and spent < 1:
                continue
            audio_s = (run.step - last_step) * noisy.numel() / SAMPLE_RATE
            line = {
                "step": run.step,
                "elapsed_s": round(run.elapsed_s, 1),
                "learning_rate": rate,
                "train_loss": statistics.fmean(losses),
                "gradient_norm": statistics.fmean(norms),
                "audio_s_per_s": audio_s / (run.elapsed_s - last_s),
                **validate(run.average, *held_out),
            }
            with (plan.folder / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            run.save(plan.folder, plan.args)
            run.elapsed_s = time.monotonic() - started
            last_s, last_step, losses, norms = run.elapsed_s, run.step, [], []


def main(  # noqa: PLR0913, PLR0917 - these are the options of the command line
    run_dir: Annotated[Path, typer.Option(help="folder of the run, made if missing")],
    bank_dir: Annotated[Path, typer.Option(help="folder that prepare.py wrote")] = BANK,
    minutes: Annotated[
        float, typer.Option(help="budget, including the time before a resume")
    ] = 120.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="budget in steps instead of minutes")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    seed: Annotated[int, typer.Option(help="of weights and data, equal for both variants")] = 0,
    mulca: Annotated[Variant, typer.Option(help="variant of MulCA")] = "original",
    init: Annotated[
        Path | None, typer.Option(help="start from the weights of this checkpoint")
    ] = None,
    causal: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--causal", help="train a causal network; needs --mulca simplified"),
    ] = False,
    new_attention: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--new-attention", help="with --init: start with random channel attention"),
    ] = False,
    resume: Annotated[  # noqa: FBT002
        bool, typer.Option("--resume", help="continue from state.pt, else from checkpoint.tar")
    ] = False,
    learning_rate: Annotated[float, typer.Option(help="the peak of the schedule")] = 1.2e-3,
    batch_size: Annotated[int, typer.Option(help="mixtures per step, a multiple of --groups")] = 8,
    groups: Annotated[int, typer.Option(help="each mixture trains 1/GROUPS of the bins")] = 4,
    seconds: Annotated[float, typer.Option(help="length of a mixture")] = 3.2,
) -> None:
    """Train one network; write state, checkpoint and log into RUN_DIR."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.set_flush_denormal(True)
    n_samples = round(seconds * SAMPLE_RATE)
    try:
        bank = Bank(bank_dir, torch.device(device))
        network = trained_network(init, mulca) if init else fresh_network(mulca, seed)
        network = made_causal(network) if causal else network
        if new_attention:
            renew_attention(network, mulca, seed)
        run = start(network, device)
        run_dir.mkdir(parents=True, exist_ok=True)
        if resume:
            run.load(run_dir, torch.device(device))
    except (FsnpError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    held_out = Mixer(bank, VALIDATION_SEED, n_samples, "_held_out")
    args = toml_args(run.network.config)
    plan = Plan(60 * minutes, steps, learning_rate, batch_size, groups, run_dir, args)
    train(run, Mixer(bank, seed, n_samples), held_out.batch(0, min(2 * batch_size, 64)), plan)


if __name__ == "__main__":
    typer.run(main)
