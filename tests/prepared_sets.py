"""A small set as tensorflow-datasets prepares it, written without TensorFlow."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 30


def write(root: Path, name: str = "tiny") -> tuple[Path, np.ndarray]:
    """Write COUNT grey images 4 x 4 of three classes as "train" and as "test"; return their folder and the pixels."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    image, label = tfds.features.Image(shape=(4, 4, 1)), tfds.features.ClassLabel(num_classes=3)
    features = tfds.features.FeaturesDict({"image": image, "label": label})
    features.save_config(str(folder))
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 1), np.uint8)
    for part in ("train", "test"):
        writer = ArrayRecordWriter(str(shard(folder, part)), "group_size:1")
        for i, each in enumerate(pixels):
            png = io.BytesIO()
            Image.fromarray(each[..., 0]).save(png, "png")
            png.seek(0)
            writer.write(features.serialize_example(features.encode_example({"image": png, "label": i % 3})))
        writer.close()
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    lengths = {"shardLengths": [str(COUNT)], "filepathTemplate": template}
    splits = [{"name": part, **lengths} for part in ("train", "test")]
    info = {"name": name, "version": "1.0.0", "fileFormat": "array_record", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder, pixels


def shard(folder: Path, part: str) -> Path:
    """The file that holds the records of a part."""
    return folder / f"{folder.parent.name}-{part}.array_record-00000-of-00001"
