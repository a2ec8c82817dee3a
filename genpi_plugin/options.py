"""Every option of axolotl (0.19 and 0.21) beside `genpi:`: works, has no effect, or is refused.

docs/axolotl-options.md is made from this table. A test walks axolotl's config schema, its plugins
and the keys of a dataset entry, so that an option of a new release has to be looked at and put into
one of the groups before it can be used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["works", "no effect", "refused"]
INTEGRATIONS = "axolotl.integrations."


@dataclass(frozen=True)
class Group:
    """Options that have the same verdict for the same reason.

    Attributes:
        about: what the options are for.
        why: for options without effect and refused ones, why; it follows "because".
        keys: names in a YAML, separated by spaces.
        unused: values besides null, false, 0 and empty ones that leave the options unused.
        cure: what to do instead, where it isn't to remove the option.
    """

    verdict: Verdict
    about: str
    why: str
    keys: str
    unused: tuple[Any, ...] = ()
    cure: str = ""

    def names(self) -> list[str]:
        return self.keys.split()

    def uses(self, value: Any) -> bool:
        """Whether a YAML with this value makes use of the option."""
        return bool(value) and value not in self.unused


REPORT = "`axolotl genpi-eval` shows the answers and scores them"

OWN_LOSS = "the plugin computes the loss itself, from a chunk of logits at a time"

# fmt: off
OPTIONS = (
    Group("works", "model, tokenizer, template", "", """
        base_model base_model_config cls_model_config revision_of_model type_of_model
        trust_remote_code hf_use_auth_token overrides_of_model_config overrides_of_model_kwargs
        is_falcon_derived_model is_llama_derived_model is_mistral_derived_model
        is_qwen_derived_model tokenizer_config tokenizer_type tokenizer_use_fast tokenizer_legacy
        tokenizer_save_jinja_files tokenizer_use_mistral_common tokens special_tokens
        added_tokens_overrides resize_token_embeddings_to_32x shrink_embeddings
        mean_resizing_embeddings embeddings_skip_upcast chat_template chat_template_jinja
        chat_template_kwargs default_system_message freeze_mm_modules"""),
    Group("works", "data", "", """
        datasets test_datasets val_set_size sequence_len dataset_prepared_path dataset_num_proc
        dataset_processes dataset_keep_in_memory dataset_shard_num dataset_shard_idx
        dataset_exact_deduplication num_dataset_shards_to_save push_dataset_to_hub
        shuffle_merged_datasets shuffle_before_merging_datasets min_sample_len
        dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor
        dataloader_drop_last remove_unused_columns accelerator_config"""),
    Group("works", "batches: the loss depends on none of them", "", """
        micro_batch_size batch_size gradient_accumulation_steps eval_batch_size
        auto_find_batch_size group_by_length curriculum_sampling sample_packing
        eval_sample_packing sample_packing_bin_size sample_packing_eff_est
        sample_packing_group_size sample_packing_mp_start_method sample_packing_sequentially
        multipack_real_batches sdpa_varlen"""),
    Group("works", "adapters", "", """
        adapter peft lora_r lora_alpha lora_dropout lora_alpha_pattern lora_rank_pattern
        lora_target_linear lora_target_modules lora_target_parameters lora_modules_to_save
        lora_fan_in_fan_out lora_model_dir lora_on_cpu lora_fp32_gradients lora_mlp_kernel
        lora_qkv_kernel lora_o_kernel lora_embedding_kernel peft_autocast_adapter_dtype
        peft_ensure_weight_tying peft_init_lora_weights peft_layer_replication
        peft_layers_pattern peft_layers_to_transform peft_trainable_token_indices peft_use_dora
        peft_use_rslora loraplus_lr_ratio loraplus_lr_embedding merge_lora merge_method
        nvfp4_merge_aware nvfp4_merge_aware_start_step mora"""),
    Group("works", "numbers and quantization", "", """
        load_in_4bit load_in_8bit bnb_config_kwargs gptq nf4_backend model_quantization_config
        model_quantization_config_kwargs quantization qat quantize_moe_experts
        qlora_sharded_model_loading bf16 bfloat16 fp16 float16 float32 tf32 fp8 fp8_config
        fp8_enable_fsdp_float8_all_gather fp32_norms fp32_norm_classes use_onebitllms
        llmcompressor"""),
    Group("works", "attention and kernels", "", """
        attn_implementation eager_attention flash_attention flex_attention sdp_attention
        sage_attention xformers_attention s2_attention flash_optimum flash_attn_d512
        flash_attn_fuse_mlp flash_attn_rms_norm flex_attn_compile_kwargs fused_attn_kernel
        gemma4_hybrid_attn_impl large_head_attention scaling_softmax scaling_softmax_bias
        scaling_softmax_factor rope_scaling llama4_linearized_experts experts_implementation
        use_kernels tiled_mlp tiled_mlp_num_shards tiled_mlp_use_original_mlp torch_compile_regional
        liger_rope liger_rms_norm liger_rms_norm_gated liger_layer_norm liger_swiglu
        liger_glu_activation liger_kernel_impl expert_backend nonexpert_quantization
        moe_grouped_backend moe_dequant_chunk_size moe_bnb_fast autotune_cache_path
        autotune_profiles autotune_neighborhood use_scattermoe use_sonicmoe use_dsv4_kernels
        use_glm_dsa_kernels dsv4_fp8_nonexpert_mode dsv4_fp8_lora_kernel
        dsv4_shared_mlp_lora_kernel dsv4_bf16_all dsv4_fp4_grouped_mode gemma4_fp8_nonexpert
        gemma4_nf4_nonexpert dense_mixer"""),
    Group("works", "memory and devices", "", """
        gradient_checkpointing gradient_checkpointing_kwargs selective_checkpointing
        activation_offloading layer_offloading ple_cpu_offload low_cpu_mem_usage max_memory
        gpu_memory_limit device device_map gc_steps gc_collect_steps torch_empty_cache_steps
        experimental_skip_move_to_device torchdistx_path"""),
    Group("works", "processes", "", """
        ddp ddp_bucket_cap_mb ddp_find_unused_parameters ddp_timeout deepspeed deepcompile fsdp
        fsdp_config fsdp_version fsdp_final_state_dict_type dp_shard_size dp_replicate_size
        use_ray ray_num_workers ray_run_name resources_per_worker world_size local_rank"""),
    Group("works", "optimizer and schedule", "", """
        optimizer optim_args optim_target_modules learning_rate weight_decay max_grad_norm
        adam_beta1 adam_beta2 adam_beta3 adam_epsilon adam_epsilon2 embedding_lr
        embedding_lr_scale lr_groups lr_scheduler lr_scheduler_kwargs lr_div_factor
        lr_quadratic_warmup cosine_min_lr_ratio cosine_constant_lr_ratio warmup_steps
        warmup_ratio num_epochs max_steps dion_lr dion_momentum dion_rank_fraction
        dion_rank_multiple_of qgalore_cos_threshold qgalore_gamma_proj qgalore_proj_bits
        qgalore_proj_group_size qgalore_proj_quant qgalore_proj_type qgalore_queue_size
        qgalore_rank qgalore_scale qgalore_update_proj_gap jagged_restart_steps
        jagged_restart_warmup_steps jagged_restart_anneal_steps neftune_noise_alpha
        noisy_embedding_alpha unfrozen_parameters lisa_step_interval lisa_n_layers
        lisa_layers_attribute spectrum_top_fraction spectrum_model_name grokfast_alpha
        grokfast_lamb seed full_determinism"""),
    Group("works", "evaluation during training, checkpoints, the hub", "", """
        eval_strategy evaluation_strategy eval_steps evals_per_epoch eval_on_start
        eval_sequence_len early_stopping_patience loss_watchdog_threshold loss_watchdog_patience
        metric_for_best_model greater_is_better load_best_model_at_end output_dir save_steps
        save_strategy saves_per_epoch save_total_limit save_only_model save_first_step
        save_safetensors dynamic_checkpoint resume_from_checkpoint auto_resume_from_checkpoints
        hub_model_id hub_revision hub_strategy coreweave export lm_eval_tasks
        lm_eval_batch_size lm_eval_post_train lm_eval_model"""),
    Group("works", "trackers, profiles, `axolotl inference`", "", """
        logging_steps logging_nan_inf_filter include_tkps include_tokens_per_second
        use_tensorboard use_wandb wandb_entity wandb_log_model wandb_mode wandb_name
        wandb_project wandb_run_id wandb_watch use_mlflow mlflow_experiment_name mlflow_run_name
        mlflow_tracking_uri hf_mlflow_log_artifacts use_comet comet_api_key
        comet_experiment_config comet_experiment_key comet_mode comet_online comet_project_name
        comet_workspace use_trackio trackio_project_name trackio_run_name trackio_space_id
        use_otel_metrics otel_metrics_host otel_metrics_port use_swanlab swanlab_project
        swanlab_experiment_name swanlab_description swanlab_mode swanlab_workspace
        swanlab_api_key swanlab_log_model swanlab_web_host swanlab_api_host
        swanlab_lark_webhook_url swanlab_lark_secret profiler_steps profiler_steps_start
        sync_profiler_steps sync_profiler_start_step gradio_max_new_tokens gradio_server_name
        gradio_server_port gradio_share gradio_temperature gradio_title"""),
    Group("works", "axolotl's own", "", """
        plugins strict is_preprocess axolotl_config_path total_num_tokens
        total_supervised_tokens max_packed_sequence_len"""),
    Group("no effect", "kernels for the loss",
        OWN_LOSS, """
        cut_cross_entropy cut_cross_entropy_accum_c_fp32 cut_cross_entropy_c_grad_chunk_size
        chunked_cross_entropy chunked_cross_entropy_num_chunks flash_attn_cross_entropy
        liger_cross_entropy liger_fused_linear_cross_entropy liger_use_token_scaling"""),
    Group("no effect", "the compiled whole model",
        "which positions get logits changes with every call, and a forward would be compiled anew "
        "for each (`torch_compile_regional` compiles the layers alone)", """
        torch_compile torch_compile_backend torch_compile_mode torch_compile_options"""),
    Group("no effect", "padding", "the plugin lays out its batches itself", """
        pad_to_sequence_len pad_to_multiple_of fa_varlen_kwargs_in_collator"""),
    Group("no effect", "rows longer than `sequence_len`",
        "a pair that is too long stops the run before (`genpi.on_overflow`)", """
        excess_length_strategy"""),
    Group("no effect", "tokens that end a turn",
        "an answer ends with the token that the chat template puts there", """
        eot_tokens"""),
    Group("no effect", "DDP's buffers",
        "the plugin sets it to false: processes may call the model unequally often", """
        ddp_broadcast_buffers"""),
    Group("no effect", "details of what is refused or off", "what they belong to is off", """
        eaft_alpha eaft_k bench_split eval_max_new_tokens num_generation_samples
        generation_do_sample generation_max_new_tokens generation_prompt_ratio
        generation_temperature generation_top_k generation_top_p label_balance_window_optim_steps
        relora_cpu_offload relora_prune_method relora_prune_ratio pose_max_context_len
        pose_num_chunks pose_split_on_token_ids heads_k_stride ring_attn_func preprocess_iterable
        pretrain_multipack_attn pretrain_multipack_buffer_size pretraining_sample_concatenation
        streaming_multipack_buffer_size image_size image_resize_algorithm processor_kwargs
        role_boundaries swanlab_log_completions swanlab_completion_log_interval
        swanlab_completion_max_buffer expert_parallel_backend expert_parallel_num_nvl_bytes
        expert_parallel_num_rdma_bytes expert_parallel_token_capacity
        expert_parallel_fallback_on_unsupported expert_parallel_save_dispatch
        expert_parallel_dispatch_chunks mixlora_expert_lora_alpha mixlora_expert_lora_dropout
        mixlora_expert_lora_r mixlora_jitter_noise mixlora_num_experts
        mixlora_router_aux_loss_coef mixlora_router_init_range mixlora_top_k nemo_gym_dir
        nemo_gym_auto_clone nemo_gym_config_paths nemo_gym_head_port nemo_gym_server_timeout
        nemo_gym_verify_timeout nemo_gym_run_timeout nemo_gym_datasets nemo_gym_auto_start
        nemo_gym_model_name nemo_gym_multi_turn nemo_gym_max_turns"""),
    Group("refused", "preferences and rollouts",
        "it trains on preferences or rollouts, GenPI on pairs of halves", """
        rl trl vllm ebft rl_beta orpo_alpha rpo_alpha cpo_alpha simpo_gamma dpo_beta dpo_loss_type
        dpo_loss_weights dpo_label_smoothing dpo_ld_alpha dpo_norm_loss dpo_padding_free
        dpo_use_liger_kernel dpo_use_logits_to_keep dpo_use_weighting dpo_generate_during_eval
        kto_desirable_weight kto_undesirable_weight precompute_ref_log_probs max_prompt_len
        nemo_gym_enabled"""),
    Group("refused", "reward models", "it trains a reward model or a classifier", """
        reward_model process_reward_model center_rewards_coefficient num_labels"""),
    Group("refused", "another loss", "it replaces the loss, and the joint loss is GenPI's", """
        use_eaft use_dft kd_trainer kd_ce_alpha kd_alpha kd_temperature kd_temperature_min kd_beta
        kd_normalize_topk kd_online_server_base_url kd_online_topk kd_online_server
        kd_online_timeout""",
        cure="remove it; `genpi: {distill_weight: 1}` distills from the prompted model"),
    Group("refused", "another trainer", "it replaces the trainer that computes the joint loss", """
        trainer_cls hatchery diffusion diffusion_lm diffusion_decision"""),
    Group("refused", "answers and benchmarks during training",
        "a batch holds pairs of halves, which it would take for one text", """
        eval_table_size do_bench_eval bench_dataset do_causal_lm_eval eval_causal_lm_metrics
        generate_samples""",
        cure=f"remove it; {REPORT}"),
    Group("refused", "data that is not in pairs",
        "pairs are made, checked and counted before training begins", """
        streaming pretraining_dataset skip_prepare_dataset"""),
    Group("refused", "images and sound", "rows hold text", """
        processor_type""",
        cure="remove it: the text part of the model is then trained like any other model"),
    Group("refused", "labels",
        "the loss is on the teacher's answers and on the prompt's recital alone", """
        train_on_inputs"""),
    Group("refused", "batches that others lay out",
        "the plugin lays out its batches itself (see `sample_packing`)", """
        batch_flattening balance_labels use_pose"""),
    Group("refused", "one sequence on several devices",
        "each process reads rows of its own, and those would have to read the same", """
        context_parallel context_parallel_size sequence_parallel_degree tensor_parallel_size
        expert_parallel_size""",
        unused=(1, {"size": 1}),
        cure="remove it; pairs are short enough for one device, or use data parallelism"),
    Group("refused", "a base model that changes",
        "the adapter is learnt on the base model as it is, and taught by it", """
        relora reinit_weights fix_untrained_tokens"""),
)

# By the name of their folder in `axolotl.integrations`.
PLUGINS = (
    Group("works", "beside GenPI's", "", """
        baseten context_parallel coreweave densemixer expert_parallel fla_sm120_shim grokfast
        kernels liger llm_compressor lm_eval modal mora nebius nemo_gym spectrum swanlab"""),
    Group("no effect", "kernels for the loss", OWN_LOSS, "cut_cross_entropy"),
    Group("refused", "another trainer", "it replaces trainer or collator, even with none of its "
          "options set", "kd hatchery diffusion diffusion_decision mixlora"),
)

# Keys of an entry of `datasets:` and `test_datasets:`.
DATASET_KEYS = (
    Group("works", "which rows, which template", "", """
        path name split type data_files ds_type revision trust_remote_code shards shards_idx
        preprocess_shards weight chat_template chat_template_jinja"""),
    Group("refused", "which fields hold what",
        "the fields of a row have fixed names, and the answers in `conversation` are trained", """
        input_transform conversation input_format field field_human field_model field_messages
        field_tools field_thinking template_thinking_key message_field_role message_field_content
        message_property_mappings message_field_training message_field_training_detail
        split_thinking logprobs_field temperature roles roles_to_train train_on_eos train_on_eot
        drop_system_message""",
        cure="remove it; docs/dataset.md has the fields"),
)
# fmt: on


def used(groups: tuple[Group, ...], cfg: Mapping[str, Any]) -> Iterator[tuple[str, Group]]:
    """The options of a YAML that it makes use of, with their groups, in the order of the table."""
    for group in groups:
        for name in group.names():
            if group.uses(cfg.get(name)):
                yield name, group


def listed_plugins(cfg: Mapping[str, Any]) -> dict[str, str]:
    """axolotl's plugins in a YAML: the name of their folder -> the name in the YAML."""
    found = {}
    for given in cfg.get("plugins") or []:
        folder, dot, _ = str(given).replace(":", ".").removeprefix(INTEGRATIONS).partition(".")
        # axolotl also takes the short name, where no module of the user's has it.
        short = dot and importlib.util.find_spec(folder) is None
        if short or str(given).startswith(INTEGRATIONS):
            found[folder] = str(given)
    return found
