"""Numbers for generated and for scored images, each with its N.

frechet           Fréchet distance of features from any extractor, streamed
inception, fid    FID as pytorch-fid computes it, and its command: python -m common.metrics.fid A B
extractors        Fréchet distances on small networks of this course, which also classify: fd_mnist_10k
kernel            KID: an unbiased distance with a standard error
precision_recall  how many samples are realistic, how much of the data is reached
attributes        validity and coverage where the attributes of an image can be recognised
detection         thresholds and rates of anomaly scores
spread            standard errors

Import the module you need; importing this package loads none of them.
"""
