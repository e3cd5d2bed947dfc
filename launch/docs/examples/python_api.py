# %% [markdown]
# # From raw text to a pretrained encoder in Python
#
# Put some plain text into `corpus.txt`: a sentence or paragraph per line, and a blank line between documents. The model
# here is tiny, so that all of it takes a minute or two on a CPU. Needs `pip install 'bertrain[train]' transformers`.

# %%
import bertrain

recipe = bertrain.load_recipe(
    "demo",
    {
        "name": "notebook",
        "data.dataset": "datasets/notebook",
        "data.corpora": [{"paths": ["corpus.txt"], "format": "text"}],
        "data.vocabulary.size": 500,
        "model.hidden_size": 64,
        "model.num_hidden_layers": 2,
        "model.num_attention_heads": 2,
        "model.intermediate_size": 128,
        "optimizer.warmup_steps": 2,
        "train.steps": 10,
        "train.global_batch_size": 16,
        "train.micro_batch_size": 8,
        "cluster.device": "cpu",
    },
)

# %% [markdown]
# ## Prepare the data set
#
# Cleaning, sentences, a vocabulary, pairs, masks. Run it again, and it finds the finished data set.

# %%
dataset = bertrain.prepare(recipe)
print(dataset, "with", len(dataset.rows()), "rows per pass, and", len(dataset.vocabulary), "word pieces")
print("failures:", bertrain.verify(dataset))

# %%
for pair in bertrain.inspect(dataset, rows=2):
    print(f"next_sentence_label {pair.next_sentence_label}:", pair)

# %% [markdown]
# ## Look at rows
#
# `rows()` gives NumPy views on the memory-mapped shards, `to_torch()` tensors, and `to_hugging_face()` a table of the
# library `datasets`.

# %%
row = dataset.rows("train", pass_number=0)[0]
print(row.input_ids.dtype, row.input_ids.shape, row.masked_lm_positions)

tensors = dataset.to_torch()
batch = tensors.collate([tensors[0], tensors[1]])
print({name: tuple(tensor.shape) for name, tensor in batch.items()})

# %% [markdown]
# ## What a training costs, and the training itself

# %%
cost = bertrain.plan(recipe, "cpu")
print(f"{cost.parameters:,} parameters, {cost.memory(1, 8).total_gib:.2f} GiB, about {cost.training_s(1):.0f} s")

# %%
training = bertrain.train(recipe, progress=print)
print("finished" if training.finished else "stopped", "with a loss of", training.metrics[-1]["loss"])

# %% [markdown]
# ## Export it, and use it with transformers

# %%
exported = bertrain.export(training.run, "notebook-bert")
print("largest difference between the outputs of transformers and ours:", exported.largest_difference)

# %%
import torch
from transformers import AutoModelForPreTraining, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("notebook-bert")
model = AutoModelForPreTraining.from_pretrained("notebook-bert").eval()
with torch.no_grad():
    output = model(**batch)
print(f"transformers' loss on the first two rows: {output.loss:.3f}")
print(tokenizer.decode(output.prediction_logits[0].argmax(-1)[:12]))
