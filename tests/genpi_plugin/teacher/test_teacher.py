"""Distillation from the prompted model itself, against plain torch without a cache or a top-k."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pair, make_pairs
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import ConfigError, GenPIError
from genpi_plugin.teacher.targets import TargetStore
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.genpi_plugin.training.test_loss import official_loss
from tests.genpi_plugin.training.test_trainer import STEPS, student, trainer, trajectory
from tests.tiny import make_tokenizer

LONG = [{"role": "system", "content": PROMPT[0]["content"] * 4}, *PROMPT[1:]]
SHORT = [{"role": "system", "content": "Sell shirts."}]
ALL = {"distill_weight": 0.5, "distill_top_k": None, "prompt_generation_share": 1.0}


class Alone:
    """What the teacher asks of accelerate, for one process."""

    process_index, num_processes, is_local_main_process = 0, 1, True

    def wait_for_everyone(self):
        pass


def rows(count: int = 8):
    return [
        parse(
            our_row(
                turns=1 + i % 3, id=f"r{i}", input="I need a shirt " * (1 + i),
                prompt=LONG if i % 4 else SHORT, prompt_id="long" if i % 4 else "short",
            ),
            "w",
        )
        for i in range(count)
    ]  # fmt: skip


def pairs(template: str = "chatml", **settings):
    view = ChatView(make_tokenizer(template))
    return make_pairs(rows(), view, GenPISettings(**{**ALL, **settings}))


def new_teacher(tmp_path):
    from genpi_plugin.teacher.teacher import Teacher

    return Teacher(TargetStore(tmp_path / "targets"), top_k=None, token_budget=400)


def teacher_of(tmp_path, made):
    teacher = new_teacher(tmp_path)
    rest = teacher.take_teacher_columns(Dataset.from_list([pair.columns() for pair in made]))
    assert "genpi_teacher_ids" not in rest.column_names
    return teacher


def plain_logits(model, sequence):
    """Logits before each supervised token of one sequence, from a forward of its own."""
    logits = model(torch.tensor([sequence.ids]), use_cache=False).logits[0]
    before = [i - 1 for i, label in enumerate(sequence.labels) if label != -100]
    return logits[before]


def with_random_adapter():
    model = student()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return model


def plain_divergence(model, pair):
    """KL(teacher||student) summed over one pair's behaviour tokens; the teacher's adapter off."""
    with torch.no_grad(), model.disable_adapter():
        truth = torch.cat([plain_logits(model, s) for s in pair.teacher]).log_softmax(-1)
    mine = torch.cat([plain_logits(model, s) for s in pair.behaviour]).log_softmax(-1)
    return F.kl_div(mine, truth, log_target=True, reduction="sum")


def assert_true_targets(model, teacher, pair):
    found = teacher.targets([pair.columns()["genpi_teacher_key"]], torch.device("cpu"))
    with torch.no_grad(), model.disable_adapter():
        truth = torch.cat([plain_logits(model, s) for s in pair.teacher]).log_softmax(-1)
    dense = torch.zeros_like(truth).scatter(-1, found.token_ids.long(), found.logprobs)
    torch.testing.assert_close(dense, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("template", ["chatml", "mistral", "thinking"])
def test_both_views_have_the_same_answers_in_the_same_order(template):
    for pair in pairs(template):
        told, given = (
            [label for s in half for label in s.labels if label != -100]
            for half in (pair.teacher, pair.behaviour)
        )
        assert told == given
        assert sum(len(s.ids) for s in pair.teacher) > sum(len(s.ids) for s in pair.behaviour)


@pytest.mark.parametrize("template", ["chatml", "thinking"])
def test_targets_from_a_cached_prompt_are_those_of_plain_forwards(tmp_path, template):
    made = pairs(template)
    model = with_random_adapter().train()
    teacher = teacher_of(tmp_path, made)
    teacher.prepare(model, Alone())
    assert model.training
    for pair in made:
        assert_true_targets(model, teacher, pair)


def slot_pairs(values, turns=2):
    prompt = [{"role": "system", "content": f"{PROMPT[0]['content'] * 2} Serve {{{{ name }}}}. "
               + PROMPT[0]["content"] * 2}]  # fmt: skip
    made = [
        our_row(
            turns, id=f"r{i}", input=f"{i} shirts", prompt=prompt, slots={"name": name},
            kept=[{"role": "system", "content": f"name: {name}"}],
        )
        for i, name in enumerate(values)
    ]  # fmt: skip
    view = ChatView(make_tokenizer())
    return make_pairs([parse(row, "w") for row in made], view, GenPISettings(**ALL))


def test_rows_with_other_values_get_the_targets_of_their_own_filled_prompts(tmp_path):
    """Read behind a shared start, and apart where values agree, against plain forwards in float32
    of prompts that were filled by hand."""
    values = [*["Ada Lovelace"] * 6, "Bob", "Cy", *["Ada Byron"] * 5]
    made = slot_pairs(values)
    view = ChatView(make_tokenizer())
    for pair, name in zip(made, values, strict=True):
        text = view.tokenizer.decode(pair.teacher[0].ids)
        assert f"Serve {name}. " in text
        assert "{{" not in text
    model = with_random_adapter()
    teacher = teacher_of(tmp_path, made)
    teacher.prepare(model, Alone())
    for pair in made:
        assert_true_targets(model, teacher, pair)
    differ = teacher.targets([made[5].columns()["genpi_teacher_key"]], torch.device("cpu"))
    other = teacher.targets([made[6].columns()["genpi_teacher_key"]], torch.device("cpu"))
    assert (differ.logprobs - other.logprobs).abs().max() > 1e-3


def test_rows_with_equal_values_read_their_prompt_once(tmp_path, monkeypatch):
    from genpi_plugin.teacher import teacher as module

    starts = []

    class Seen(module.PrefixCache):
        def __init__(self, model, requests, **more):
            super().__init__(model, requests, **more)
            starts.append((len(requests), make_tokenizer().decode(self.ids)))

    monkeypatch.setattr(module, "PrefixCache", Seen)
    made = slot_pairs([*["Ada Lovelace"] * 6, "Bob", "Cy", *["Ada Byron"] * 5], turns=1)
    teacher_of(tmp_path, made).prepare(with_random_adapter(), Alone())
    assert sorted(rows for rows, _ in starts) == [2, 5, 6]
    for rows, start in starts:
        assert ("Serve Ada" in start) == (rows > 2)
        assert start.count("You are a shop assistant.") == (4 if rows > 2 else 2)


def test_a_beginning_that_reaches_into_the_answers_is_not_all_cached(tmp_path):
    view = ChatView(make_tokenizer())
    answers = ["Action: click[item one]", "Action: click[item two]"]
    made = [
        make_pair(parse(our_row(conversation=[{"role": "assistant", "content": text}]), "w"),
                  view, GenPISettings(**ALL))
        for text in answers
    ]  # fmt: skip
    model = with_random_adapter()
    teacher = teacher_of(tmp_path, made)
    teacher.prepare(model, Alone())
    for pair in made:
        assert_true_targets(model, teacher, pair)


def start_teacher(tmp_path, made):
    from genpi_plugin.teacher.teacher import Teacher

    teacher = Teacher(TargetStore(tmp_path / "start"), None, 400, with_adapter=True)
    teacher.take_teacher_columns(Dataset.from_list([pair.columns() for pair in made]))
    return teacher


def test_the_start_as_teacher_has_its_adapter_on_and_no_dropout(tmp_path):
    """Against a plain forward of the same weights; the base model's targets are others."""
    made = pairs()
    model = with_random_adapter()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    teacher = start_teacher(tmp_path, made)
    teacher.prepare(model.train(), Alone())
    assert model.training
    for pair in made[:3]:
        key = pair.columns()["genpi_teacher_key"]
        found = teacher.targets([key], torch.device("cpu"))
        dense = torch.zeros(len(found.tail), 512).scatter(
            -1, found.token_ids.long(), found.logprobs
        )
        with torch.no_grad():
            model.eval()
            truth = torch.cat([plain_logits(model, s) for s in pair.teacher]).log_softmax(-1)
            with model.disable_adapter():
                base = torch.cat([plain_logits(model, s) for s in pair.teacher]).log_softmax(-1)
        torch.testing.assert_close(dense, truth[:, : dense.shape[1]], rtol=1e-4, atol=1e-4)
        assert (dense - base).abs().max() > 0.1


def test_a_start_that_has_been_trained_since_can_teach_no_more_rows(tmp_path):
    made = pairs()
    model = with_random_adapter()
    start_teacher(tmp_path, made[:5]).prepare(model, Alone())
    start_teacher(tmp_path, made[:5]).prepare(model, Alone(), step=2)  # all are there
    with pytest.raises(GenPIError, match=r"3 of the teacher's 8 targets are missing.*for 2 steps"):
        start_teacher(tmp_path, made).prepare(model, Alone(), step=2)


def test_each_teacher_has_a_store_of_its_own(tmp_path):
    from axolotl.utils.dict import DictDefault

    from genpi_plugin.teacher.opening import open_teacher

    model = with_random_adapter()
    cfg = DictDefault(base_model="tiny", dataset_prepared_path=str(tmp_path / "prepared"),
                      sequence_len=64, micro_batch_size=1)  # fmt: skip
    folders = [open_teacher(cfg, 8).store.folder]
    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name)
        cfg.lora_model_dir = str(tmp_path / name)
        assert open_teacher(cfg, 8).store.folder == folders[0]
        folders.append(open_teacher(cfg, 8, who="start").store.folder)
        assert open_teacher(cfg, 8, who="start").with_adapter
        with torch.no_grad():
            next(p for p in model.parameters() if p.requires_grad).add_(1)
    assert len(set(folders)) == 3


def test_nothing_is_read_twice(tmp_path):
    made = pairs()
    model = with_random_adapter()
    teacher_of(tmp_path, made[:5]).prepare(model, Alone())
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(written) == 5
    teacher = teacher_of(tmp_path, made)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    teacher.prepare(model, Alone())
    assert calls
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    calls.clear()
    teacher_of(tmp_path, made).prepare(model, Alone())
    assert not calls


def test_two_processes_share_the_work(tmp_path):
    made = pairs()
    model = with_random_adapter()

    class Second(Alone):
        process_index, num_processes = 1, 2

    with pytest.raises(GenPIError, match="4 of the teacher's 8 targets are not in"):
        teacher_of(tmp_path, made).prepare(model, Second())
    teacher_of(tmp_path, made).prepare(model, Alone())
    assert len(list(tmp_path.rglob("*.safetensors"))) == 8


@pytest.fixture(scope="module")
def reference():
    """Plain torch: the official formula and the whole divergence, AdamW, ten steps."""
    settings = GenPISettings(**ALL)
    made = pairs()
    model = student()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0)
    tokens = sum(label != -100 for pair in made for s in pair.behaviour for label in s.labels)
    losses = []
    for _ in range(STEPS):
        loss = official_loss(model, made, settings.label_weight)
        loss = loss + 0.5 * sum(plain_divergence(model, pair) for pair in made) / tokens
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, torch.cat([p.detach().flatten() for p in weights])


@pytest.mark.parametrize(
    ("batch", "accumulation", "layout"), [(1, 8, "padded"), (4, 2, "packed"), (8, 1, "bucketed")]
)
def test_every_cut_of_the_batch_is_the_plain_step(tmp_path, reference, batch, accumulation, layout):
    made = trainer(
        tmp_path, GenPISettings(**ALL), batch, accumulation, layout, made=pairs(),
        teacher=new_teacher(tmp_path),
    )  # fmt: skip
    before = made.evaluate()
    losses, weights = trajectory(made)
    assert losses == pytest.approx(reference[0], rel=1e-5)
    torch.testing.assert_close(weights, reference[1], rtol=1e-4, atol=2e-6)
    first = next(entry for entry in made.state.log_history if "loss" in entry)
    assert first["divergence"] == pytest.approx(before["eval_divergence"], rel=1e-4)
    assert before["eval_loss"] == pytest.approx(first["loss"], rel=1e-4)


def test_distillation_alone_trains_on_no_labels(tmp_path):
    settings = GenPISettings(
        sft_weight=0, prompt_generation_share=0, distill_weight=1, distill_top_k=None
    )
    made = trainer(
        tmp_path, settings, 8, 1, steps=1, teacher=new_teacher(tmp_path),
        made=pairs(sft_weight=0, prompt_generation_share=0, distill_weight=1),
    )  # fmt: skip
    made.train()
    [logged] = [entry for entry in made.state.log_history if "loss" in entry]
    assert logged["loss"] == pytest.approx(logged["divergence"], rel=1e-5)
    assert "prompt_generation_loss" not in logged


@pytest.mark.parametrize(
    ("cfg", "distills", "says"),
    [
        ({"adapter": "lora"}, True, "needs `lora_model_dir:`"),
        ({"adapter": "lora", "lora_model_dir": "a"}, False, "no effect without distillation"),
    ],
)
def test_a_teacher_that_is_not_there_is_refused(cfg, distills, says):
    from genpi_plugin.checks import check_teacher

    check_teacher(cfg, "base", distills)
    check_teacher({"lora_model_dir": "a"}, "start", True)
    with pytest.raises(ConfigError, match=says):
        check_teacher(cfg, "start", distills)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapter": None}, "needs an adapter"),
        ({"fsdp_config": {"offload_params": True}}, r"with FSDP1.*\n.*`fsdp_version: 2`"),
        ({"fsdp": ["full_shard"], "fsdp_version": 1}, "with FSDP1"),
    ],
)
def test_what_leaves_no_teacher_is_refused(changes, says):
    from genpi_plugin.checks import check_distillation

    for stage in (2, 3):
        check_distillation(
            {"adapter": "lora", "deepspeed": {"zero_optimization": {"stage": stage}}}
        )
    for named in ({"version": 2}, {"fsdp_version": 2}):
        check_distillation({"adapter": "qlora", "fsdp_config": named})
    check_distillation({"adapter": "lora", "fsdp_version": 2, "fsdp_config": {"a": 1}})
    with pytest.raises(ConfigError, match=says):
        check_distillation({"adapter": "lora", **changes})


def test_a_deepspeed_file_that_is_not_json_is_named(tmp_path):
    from genpi_plugin.checks import check_distillation

    path = tmp_path / "zero.json"
    path.write_text("{stage: 2}")
    with pytest.raises(ConfigError, match=r"zero\.json` is not JSON"):
        check_distillation({"adapter": "lora", "deepspeed": str(path)})
    path.write_text("{}")
    check_distillation({"adapter": "lora", "deepspeed": str(path)})


def test_the_mark_of_a_model_follows_its_files_and_loading(tmp_path):
    from genpi_plugin.teacher.opening import model_digest

    weights = tmp_path / "model.safetensors"
    weights.write_text("one")
    cfg = {"base_model": str(tmp_path), "learning_rate": 1}
    digests = [model_digest(cfg, 64)]
    assert model_digest({**cfg, "learning_rate": 2}, 64) == digests[0]
    digests += [model_digest(cfg, 128), model_digest({**cfg, "load_in_4bit": True}, 64)]
    weights.write_text("other")
    digests.append(model_digest(cfg, 64))
    assert len(set(digests)) == len(digests)


def test_a_conversation_longer_than_the_model_reads_is_named(tmp_path):
    model = with_random_adapter()
    model.config.max_position_embeddings = 50
    with pytest.raises(GenPIError, match="reads 50 at most"):
        teacher_of(tmp_path, pairs()).prepare(model, Alone())
