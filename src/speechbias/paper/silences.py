"""What the paper leaves open: our choice, the alternatives, and what they change.

Measured numbers name where they come from; the others say what an alternative is expected to move.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Silence:
    """A choice that the paper leaves open and that changes a number."""

    topic: str
    chosen: str
    alternatives: str
    reason: str
    changes: str  # what the alternatives change, and by how much where that is known


SILENCES = {
    # ---- what is measured ----
    "native-count": Silence(
        topic="Stimuli per group of Native (Table 1 says 55)",
        chosen="59, all pairs of SpEAT's US/Korean list, less what the user's copy of the archive lacks",
        alternatives="55: no published list has that many; which 4 pairs the paper dropped is not said",
        reason="SpEAT's list is public and matched on age and sex; Gender (60) and Age (58) agree with it exactly",
        changes="Native's clips are never all the paper's; 4 pairs at random move d by 0.05 (0.18 x sqrt(4 / 55))",
    ),
    "attribute-clips": Silence(
        topic="Which clips of the Morgan set are positive and negative",
        chosen="SpEAT's rule: of each of 6 talkers the 10 of highest and of lowest rated valence, ties by its seed",
        alternatives="others; the paper gives neither count nor list",
        reason='"following the setup in SpEAT"; the ratings come with the corpus',
        changes="all three columns at once: the attribute is the same for every category",
    ),
    "resampling": Silence(
        topic="From the archive's MP3 to 16 kHz",
        chosen="soxr at high quality, channels averaged, nothing trimmed or levelled",
        alternatives="linear interpolation without a filter against aliasing, as SpEAT (pydub); librosa; ffmpeg",
        reason="aliases are no speech; a model heard none in training",
        changes="what lies above 8 kHz comes back below it as noise; not measured on the archive",
    ),
    # ---- how it is measured ----
    "ddof": Silence(
        topic="Standard deviation in equation 2",
        chosen="n - 1 (ddof 1), over X and Y together",
        alternatives="n (ddof 0), as WEFE",
        reason="SpEAT's own code",
        changes="d by the factor sqrt(2n / (2n - 1)): 0.4 % at 60 + 60 stimuli, 0.005 at d = 1.2",
    ),
    "layers": Silence(
        topic="Aggregation across layers",
        chosen="mean over all hidden states, the encoder's input included; d of that mean",
        alternatives="without the input; sum (the same d); mean of the layers' d",
        reason="SpEAT's headline numbers; S3PRL's list of hidden states",
        changes="the mean of the layers' d is another number: a state of large norm rules the averaged embedding",
    ),
    "layer-0": Silence(
        topic="What the encoder's input is (state 0)",
        chosen="after the convolution of positions, and after the norm in post-norm models, as S3PRL",
        alternatives="--states speat-2023: wav2vec 2.0 before positions; HuBERT's last block in its place (a quirk)",
        reason="the authors' other code is S3PRL's",
        changes="one state of 13: the paper and SpEAT, which differ in it, are 0.04 apart in the mean of 9 cells",
    ),
    "final-norm": Silence(
        topic="Whether the last state of a pre-norm model (wav2vec 2.0 Large) is taken after the final norm",
        chosen="after it, as S3PRL",
        alternatives="the raw block, as SpEAT (--states speat-2023)",
        reason="it is what the model hands on",
        changes="a state of large norm rules the mean: SpEAT's d's of Large (60,000 h) are those of its last state",
    ),
    "student-states": Silence(
        topic="Which states of a student count",
        chosen="the projected input and each block",
        alternatives="the heads' predictions too, as S3PRL's distiller may give them (--states s3prl-heads)",
        reason="heads are thrown away after distillation; the student is what is used",
        changes="2 states more beside 3 (2 layers); they resemble the teacher, so d moves towards the teacher's",
    ),
    "pruned-states": Silence(
        topic="Which states of a pruned wav2vec 2.0 count",
        chosen="those of the unpruned model: input and each block",
        alternatives="blocks alone: the authors' S3PRL wrapper of pruned models returns 12 states, not 13",
        reason="a curve whose first point is measured otherwise shows a cut that is none",
        changes="the dashed line of Figure 2 against its curve, by what state 0 adds to the mean",
    ),
    "pooling": Silence(
        topic="Frames that count in the mean over time",
        chosen="the valid frames of the whole clip, each alone, without padding",
        alternatives="batches with padding: models with a group norm then depend on the neighbours' length",
        reason="an embedding is a property of its clip",
        changes="nothing for who embeds one clip at a time, as SpEAT",
    ),
    "cmvn": Silence(
        topic="Normalisation of classical features",
        chosen="none: the mean over time keeps what the feature says of the speaker",
        alternatives="per-utterance CMVN (feature:cmvn), S3PRL's default for three of the four features",
        reason="per-utterance CMVN makes every mean over time zero up to rounding, so d is noise",
        changes="the last four rows of Table 3 altogether, and with them its bold print",
    ),
    "feature-settings": Silence(
        topic="Windows, filters and coefficients of STFT, spectrogram, mel and MFCC",
        chosen="S3PRL's baselines: frames of 25 ms every 10 ms, 80 mel bands, 13 coefficients with two deltas",
        alternatives="Kaldi's, librosa's, torchaudio's defaults",
        reason="the paper uses S3PRL for its downstream task",
        changes="the last four rows of Table 3: without a logarithm the loudest bands rule the cosine",
    ),
    "p-value": Silence(
        topic="Test of significance",
        chosen="two-sided permutation test that respects repeated speakers",
        alternatives="one-sided over clips, as SpEAT (--alternative greater --design independent)",
        reason="the paper reports none; a reverse association must be visible",
        changes="p doubles where d > 0; a reverse association has p near 1 one-sided",
    ),
    "seeds": Silence(
        topic="How many training runs stand behind a number",
        chosen="one per recipe, named with its seed; several where you train several",
        alternatives="a mean over seeds",
        reason="one is what the paper has",
        changes="an interval over stimuli says nothing of other runs: a claim about training needs several seeds",
    ),
    # ---- how models are made ----
    "pretraining": Silence(
        topic="Optimiser, masks, crops and dropout of pre-training (Section 2.1 gives updates and batches)",
        chosen="those of fairseq's base recipes for wav2vec 2.0 and HuBERT, of MelHuBERT's code for MelHuBERT",
        alternatives="any; every one is a key of the recipe",
        reason="the models are trained with that code; sizes of Table 2 agree with its defaults",
        changes="not known: nobody trained these models twice",
    ),
    "adam": Silence(
        topic="What Adam with weight decay means",
        chosen="decoupled (AdamW), as fairseq's adam; decay 0.01 in pre-training of wav2vec 2.0 and HuBERT, else none",
        alternatives="decay added to the gradient (torch's Adam), as the authors' code of pruning, 0.01",
        reason="fairseq's code for pre-training; the paper names Adam without decay for pruned models",
        changes="with the gradient scaled away by Adam, decay 0.01 in it shrinks unused weights towards zero",
    ),
    "pretraining-gpus": Silence(
        topic="How many GPUs share an update of 87.5 s each",
        chosen="1: a recipe counts the audio of one process, and more processes make larger updates",
        alternatives="2: then 400,000 updates see LibriSpeech about as often as MelHuBERT's 421,000 of 12 utterances",
        reason="nothing is said, and one is what most people have",
        changes="audio per update, so how far a model is trained at a given step of Figure 1",
    ),
    "label-embeddings": Silence(
        topic="What the parameters of Table 2 count",
        chosen="everything of a pre-training model: quantizer, projections, 504 label embeddings, mask embedding",
        alternatives="the encoder alone",
        reason="nine of nine printed counts agree so",
        changes="0.2 to 0.7 million parameters",
    ),
    "tracked-steps": Silence(
        topic="At which steps Figure 1 is measured",
        chosen="0 and powers of two from 1,000 on, with the last step",
        alternatives="every so many thousand",
        reason="most happens early (the paper: within 30k to 60k steps), and the axis is read by orders of magnitude",
        changes="how exactly it is known when d turns positive",
    ),
    "pruning-start": Silence(
        topic="Updates before the first cut and after the last one (Section 2.3 gives those between cuts)",
        chosen="as many as between the cuts beside it",
        alternatives="1,000 before; 40,000, 34,000 or 5,000 after, as the authors' configurations",
        reason="every point of Figure 2 is then trained for as long as its neighbours",
        changes="the first and last points of Figure 2",
    ),
    "pruning-moments": Silence(
        topic="Adam's moments at a cut of heads or rows",
        chosen="those of what stays are carried through",
        alternatives="a new optimiser after each cut, as the authors' code",
        reason="a cut is no reason to forget the gradients of the weights that stay; weight pruning keeps them too",
        changes="the first thousand or so of 25,000 updates, over which Adam's averages (0.999) forget",
    ),
    "convergence": Silence(
        topic="When and how the loss of weight pruning is compared: one side or two",
        chosen="every 15,000 updates after a cut, both ways (a loss that rose by over 0.001 has not converged)",
        alternatives="after every update; every 25,000, a fall alone counts, the first cut untested (authors' code)",
        reason="asked after every update, two noisy averages that cross are soon taken for a loss that stands still",
        changes="when cuts come, so how long each sparsity is trained; the authors' took 3.3 million updates",
    ),
    "head-norm": Silence(
        topic="Which matrices the L1 norm of a head is of",
        chosen="query, key and value with their biases",
        alternatives="the output projection too",
        reason="the authors' code",
        changes="which heads go, where the two orders differ",
    ),
    "pruning-temperature": Silence(
        topic="Gumbel temperature of wav2vec 2.0 while it is pruned",
        chosen="0.5, at which pre-training ends",
        alternatives="2.0, as the authors' code, which never tells the quantizer how far training is",
        reason="training goes on where it was",
        changes="the noise of wav2vec 2.0's targets, which the encoder meets in its loss alone",
    ),
    "distillation": Silence(
        topic="What of a student is copied, and what counts in its loss (Section 2.3 names DistilHuBERT's recipe)",
        chosen="front end, projection, positions, norms, first layers copied; own frames; a teacher without dropout",
        alternatives="padding counted and dropout in the teacher, as S3PRL; random weights and masks, as the authors' "
        "MelHuBERT",
        reason="a target that depends on a neighbour's length or on a draw is no property of the teacher",
        changes="most for MelHuBERT, whose students begin at random in the authors' code, not as the teacher's layers",
    ),
    "distillation-small-teachers": Silence(
        topic="Targets in a teacher of fewer than 12 layers",
        chosen="the middle layer, rounded up, and the last",
        alternatives="the last alone; any, by [distill] targets",
        reason="DistilHuBERT's targets spread from below the middle to the end",
        changes="nothing of the paper, whose teachers have 12",
    ),
    # ---- utility ----
    "phones": Silence(
        topic="Phones of the phoneme recogniser",
        chosen="39 of the CMU dictionary, without stress; probe/superb.toml has S3PRL's 71 and an end token",
        alternatives="71, with stress, as S3PRL's LibriPhone",
        reason="stress is a property of words that a recogniser of sounds is not asked for",
        changes="errors of stress count or do not; rates of two phone sets never stand in one table here",
    ),
    "probe-rate": Silence(
        topic="Learning rate of the phoneme recogniser",
        chosen="1e-1 to 1e-5 by powers of ten for every model, chosen by dev PER, all on record",
        alternatives="S3PRL's default 1e-2 for all; SUPERB's search down to 1e-7",
        reason="one rate for all favours models whose states are of its scale",
        changes="rates of models that 1e-2 does not suit; users of S3PRL could not repeat SUPERB's numbers with it",
    ),
}
