"""The trainer: the halves of a batch, the weights of their losses, what is reported of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from axolotl.core.trainers.base import AxolotlTrainer
from axolotl.utils.logging import get_logger
from datasets import Dataset

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, TEACHER_KEY
from genpi_plugin.data.row_targets import TARGETS
from genpi_plugin.errors import plain_exit
from genpi_plugin.keeping.keeping import KEEP, Keeping
from genpi_plugin.keeping.keeping import TOKENS as KEEP_TOKENS
from genpi_plugin.on_policy.batches import OWN
from genpi_plugin.on_policy.targets import Own
from genpi_plugin.on_policy.windows import OnPolicy
from genpi_plugin.reading.capabilities import Together, training_layout
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import Layout
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.teacher.teacher import Teacher
from genpi_plugin.training.bins import check_not_empty, left_out, with_last_batch
from genpi_plugin.training.collator import TOKENS
from genpi_plugin.training.counts import add_tokens, step_counts
from genpi_plugin.training.halves import Half, HalfSums, half_sums
from genpi_plugin.training.loss import LossSums, TokenCounts, joint_loss
from genpi_plugin.training.meter import LossMeter
from genpi_plugin.training.padding import pad_to_multiple
from genpi_plugin.training.rates import recital_rate
from genpi_plugin.training.told import told

LOG = get_logger("axolotl.genpi")
BEHAVIOUR, PROMPT_GENERATION = "behaviour", "prompt_generation"


class GenPITrainer(AxolotlTrainer):
    """axolotl's trainer with the joint loss in place of cross entropy over everything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `compute_loss` already divides by the whole step's tokens; a further division by the
        # number of accumulation steps would be one too many.
        self.model_accepts_loss_kwargs = True
        self.genpi = GenPISettings()
        self.layout: Layout = "padded"
        # Whether each process holds only a part of the parameters (ZeRO-3, FSDP).
        self.sharded = False
        self._head: SupervisedHead | None = None
        self._together: Together = "padded"
        self.teacher: Teacher | None = None
        self.on_policy: OnPolicy | None = None
        self.keeping: Keeping | None = None
        self._train_meter = LossMeter()
        self._eval_meter = LossMeter()
        self._recital_rate: float | None = None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """The joint loss of one micro-batch as its share of the step's (contract 3).

        Args:
            inputs: a batch of `GenPICollator`.
            num_items_in_batch: the `TokenCounts` of the step, [3], or [4] with requests to keep;
                without it, those of this batch.
        """
        of_halves = self._sums(model, inputs)
        counts = step_counts(inputs) if num_items_in_batch is None else num_items_in_batch.tolist()
        loss = self._joint_loss(of_halves, self._weighed(TokenCounts(*counts)))
        meter = self._train_meter if model.training else self._eval_meter
        kept = inputs.get(KEEP, {}).get(KEEP_TOKENS, 0)
        meter.add(of_halves, [*inputs[TOKENS], kept], inputs.get(OWN))
        if model.training:
            self._count_tokens(inputs)
            if num_items_in_batch is not None:
                # DDP and DeepSpeed average gradients over ranks, and the counts are of all ranks.
                loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def distill_from(self, teacher: Teacher) -> None:
        """Distill from a teacher, which takes its columns of the datasets."""
        self.teacher = teacher
        for name in ("train_dataset", "eval_dataset"):
            if (dataset := getattr(self, name)) is not None:
                setattr(self, name, teacher.take_teacher_columns(dataset))

    def _sums(self, model: torch.nn.Module, inputs: dict[str, Any]) -> LossSums:
        lengths, count = inputs[LENGTHS], inputs[BEHAVIOUR_SEQUENCES]
        own: Own | None = inputs.get(OWN)
        parts = [count, own.sequences if own else 0]
        # Recorded answers, the student's own, recitals: the sequences of each, and their tokens.
        behaviour, mine = lengths[:count], lengths[count : sum(parts)]
        recitals = lengths[sum(parts) :]
        sizes = [sum(behaviour), sum(mine), sum(recitals)]
        ids, labels = (inputs[name][0].split(sizes) for name in ("input_ids", "labels"))
        halves: dict[str, Half] = {}
        if self.genpi.trains_behaviour and (behaviour or not own):
            teacher = told(inputs) or self._targets(inputs[TEACHER_KEY])
            halves[BEHAVIOUR] = Half(ids[0], labels[0], behaviour, teacher)
        if own and mine:
            halves[OWN] = Half(ids[1], labels[1], mine, own.targets)
        # Another rank may have this half in its batch. Where each process has a part of the model,
        # all must call, and in any case one call is made.
        if self.genpi.trains_prompt_generation and (recitals or self.sharded or not halves):
            halves[PROMPT_GENERATION] = Half(ids[2], labels[2], recitals)
        kept = inputs.get(KEEP)
        if self.keeping is not None and kept and kept[LENGTHS]:
            targets = self.keeping.targets(kept[TEACHER_KEY], ids[0].device)
            halves[KEEP] = Half(kept["input_ids"], kept["labels"], kept[LENGTHS], targets)
        return self._losses(model, halves)

    def _losses(self, model: torch.nn.Module, halves: dict[str, Half]) -> LossSums:
        unwrapped = self._unwrapped_model
        if self._head is None:
            self._head = SupervisedHead(unwrapped, standalone=not self.sharded)
            forward = model if self.sharded else None
            self.layout, self._together = training_layout(unwrapped, self.layout, forward)
        found = half_sums(self._head, model, unwrapped, halves, self.layout, self._together)
        nothing = torch.zeros((), device=self.args.device)
        none = HalfSums(nothing, nothing)
        behaviour = found.get(BEHAVIOUR, none)
        return LossSums(
            behaviour.cross_entropy,
            found.get(PROMPT_GENERATION, none).cross_entropy,
            behaviour.divergence,
            found.get(OWN, none).divergence,
            found.get(KEEP, none).divergence,
        )

    def _targets(self, keys: list[str]) -> Targets | None:
        if self.teacher is None:
            return None
        with plain_exit():
            self.teacher.prepare(self._unwrapped_model, self.accelerator, self.state.global_step)
        return self.teacher.targets(keys, self.args.device)

    @property
    def _unwrapped_model(self) -> Any:
        return self.accelerator.unwrap_model(self.model)

    def _joint_loss(self, sums: LossSums, counts: TokenCounts) -> Any:
        settings = self.genpi
        return joint_loss(
            sums,
            counts,
            settings.label_weight,
            settings.distill_weight or 0.0,
            settings.keep_weight or 0.0,
        )

    def _weighed(self, counts: TokenCounts) -> TokenCounts:
        """The tokens to divide by: the step's own, but for recitals that a share of the rows has.

        Divided by the recitals that happen to be in a step, they would weigh 1 - w where there is
        one and nothing where there is none: with one row a step a quarter of what they weigh with
        32. So they are divided by as many tokens as a step with these behaviour tokens has on
        average.
        """
        if self._recital_rate is None:
            self._recital_rate = recital_rate(self.train_dataset)
        if not self._recital_rate:
            return counts
        recited = counts.recorded * self._recital_rate
        return dataclasses.replace(counts, prompt_generation=recited)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], torch.Tensor]:
        """The batches of a step: on policy with the student's own answers, and with the requests to
        keep; and its supervised tokens."""
        step = self.state.global_step
        if self.on_policy is None:
            batches, counts = super().get_batch_samples(epoch_iterator, num_batches, device)
        else:
            with plain_exit():
                batches = self.on_policy.take(epoch_iterator, num_batches, self)
            counts = self._get_num_items_in_batch(batches, device)
        if self.keeping is not None and batches:
            with plain_exit(), self.compute_loss_context_manager():
                self.keeping.prepare(
                    self._unwrapped_model, self.accelerator, step, self.state.max_steps
                )
            share = self.accelerator.process_index, self.accelerator.num_processes
            tokens = self.keeping.add(batches, step, *share, device)
            counts = torch.cat([counts, torch.tensor([tokens])])
        return batches, counts

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> torch.Tensor:
        """Supervised tokens of a step over all ranks, as in `TokenCounts`."""
        counts = torch.zeros(3, dtype=torch.long, device=device)
        for batch in batch_samples:
            counts += torch.tensor(step_counts(batch), device=device)
        return self._sum_over_ranks(counts).cpu()

    def _sum_over_ranks(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")

    def get_train_dataloader(self) -> Any:
        """As the parent's.

        Exits with a message and status 1 where it has no batch: nothing would be trained, and the
        adapter saved as if it had been.
        """
        loader = super().get_train_dataloader()
        with plain_exit():
            check_not_empty(loader, self.train_dataset, self.args)
        return loader

    def _create_multipack_sampler(self, base_sampler: Any, dataset: Dataset, **more: Any) -> Any:
        """As the parent's, with the last bins of an epoch, too, where one process reads them.

        axolotl leaves out a batch of fewer bins than `micro_batch_size`. That is all there is
        where rows are few, and a part of the evaluation's rows. `more` is what axolotl 0.21 says
        beside them.
        """
        sampler = super()._create_multipack_sampler(
            base_sampler=base_sampler, dataset=dataset, **more
        )
        if self.accelerator.num_processes == 1:
            return with_last_batch(sampler)
        if note := left_out(sampler, len(dataset)):
            LOG.warning(f"genpi: {note}")
        return sampler

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As the parent's, with rows padded to whole batches on all processes."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        processes = self.accelerator.num_processes
        if processes > 1 and isinstance(dataset, Dataset):
            dataset = pad_to_multiple(dataset, processes * self.args.per_device_eval_batch_size)
        return super().get_eval_dataloader(dataset)

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, None, None]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        return loss.detach(), None, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As the parent's, with losses averaged over all tokens instead of over batch means."""
        self._eval_meter.reset()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        metrics = self._metrics(self._eval_meter)
        means = LossSums(
            metrics.get("behaviour_loss", 0.0),
            metrics.get("prompt_generation_loss", 0.0),
            metrics.get("divergence", 0.0),
        )
        metrics["loss"] = float(self._joint_loss(means, TokenCounts(1, 1)))
        output.metrics.update({f"{metric_key_prefix}_{k}": v for k, v in metrics.items()})
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self._metrics(self._train_meter)
            self._train_meter.reset()
        super().log(logs, start_time)

    def _metrics(self, meter: LossMeter) -> dict[str, float]:
        return meter.metrics(self.genpi, self._sum_over_ranks, self.args.device)

    def _count_tokens(self, inputs: dict[str, Any]) -> None:
        """Update axolotl's token counters, as the parent's `compute_loss` does."""
        if not self.args.include_tkps:
            return
        counts = [sum(inputs[TOKENS]), inputs["input_ids"].numel()]
        here = torch.tensor(counts, device=self.args.device)
        add_tokens(self.state, *self._sum_over_ranks(here).cpu())

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the pair's columns, which the model's forward does not name."""
        super()._set_signature_columns_if_needed()
        for name in (LENGTHS, BEHAVIOUR_SEQUENCES, TEACHER_KEY, *TARGETS):
            if name not in self._signature_columns:
                self._signature_columns.append(name)
