"""What invented students write in each language, item by item, and what they may leave out."""

from __future__ import annotations

SAYS = {
    "task": {
        "ru": [
            ("Задача", "Обучить модель и сравнить варианты."),
            ("Постановка задачи", "Нужно построить генератор лиц."),
            ("Описание задания", "Реализовать модель из лекции и обучить её."),
        ],
        "en": [
            ("Task", "Train the model and compare variants."),
            ("Problem statement", "We have to build a generator of faces."),
            ("The assignment", "Implement the network of the lecture."),
        ],
    },
    "dataset": {
        "ru": [
            ("Датасет", "Взяли открытый набор с сайта авторов{}."),
            ("Набор данных", "Скачали лица знаменитостей{}."),
            ("Данные", "Собирали вручную с телефона{}."),
        ],
        "en": [
            ("Dataset", "We took the published set from its site{}."),
            ("Data set", "Celebrity faces, downloaded{}."),
            ("Data", "Collected by hand with a phone{}."),
        ],
    },
    "goal": {
        "ru": [("Цель", "Добиться устойчивого обучения."), ("", "Цель эксперимента — получить чёткие лица.")],
        "en": [("Goal", "Make the training stable."), ("", "The goal of this run was to get sharp faces.")],
    },
    "idea": {
        "ru": [
            ("Идея", "Сгладить метки настоящих картинок."),
            ("Гипотеза", "Другая скорость обучения поможет."),
        ],
        "en": [
            ("Idea", "Smooth the labels of real faces."),
            ("Hypothesis", "Another learning rate will help."),
        ],
    },
    "result": {
        "ru": [
            ("Результат", "Лица стали чётче, фон ровнее."),
            ("", "В результате обучение перестало расходиться."),
        ],
        "en": [
            ("Result", "Faces became sharper, backgrounds even."),
            ("", "As a result the training no longer diverges."),
        ],
    },
    "comparison": {
        "ru": [
            ("Сравнение", "Лучше первой версии, потому что градиент не затухает."),
            ("", "По сравнению с базовой моделью стало лучше."),
        ],
        "en": [
            ("Comparison", "Better than the first version, as gradients survive."),
            ("", "Compared with the baseline it is sharper."),
        ],
    },
    "conclusions": {
        "ru": [
            ("Выводы", "Важнее всего скорость обучения, остальное меньше."),
            ("Заключение", "Модель работает, но не на всех лицах."),
        ],
        "en": [
            ("Conclusions", "The learning rate matters most, the rest less."),
            ("Conclusion", "The model works, though not on every face."),
        ],
    },
    "convergence": {
        "ru": [("", "Сначала модель не сходилась, затем случился коллапс мод.")],
        "en": [("", "At first the model did not converge, then it had a mode collapse.")],
    },
    "smoothing": {
        "ru": [("", "Для текстовых стилей взяли сглаживание Лапласа.")],
        "en": [("", "Text styles use additive smoothing of the counts.")],
    },
    "beta_vae": {
        "ru": [("Бета-VAE", "Свёрточная модель с коэффициентом больше единицы.")],
        "en": [("Beta-VAE", "A convolutional model with a weight above one.")],
    },
    "truncation": {
        "ru": [("", "Перебрали psi от нуля до единицы, усечение сужает разнообразие.")],
        "en": [("", "We swept psi: truncation trades diversity for quality.")],
    },
    "dreambooth": {
        "ru": [("DreamBooth", "Запрос экземпляра: a photo of sks woman face.")],
        "en": [("DreamBooth", "Instance prompt: a photo of sks woman face.")],
    },
}
SIZES = {"ru": [", всего {} изображений", ", {} фотографий"], "en": [", {} images in all", ", {} photos"]}
VALUES = {
    "metric_values": {
        "ru": ["Итоговая точность {}", "SSIM равен {}"],
        "en": ["The final accuracy is {}", "SSIM = {}"],
    },
    "vae_fid": {"ru": ["FID модели: {}"], "en": ["FID of the model: {}"]},
    "threshold": {"ru": ["Порог выбрали {}"], "en": ["We chose the threshold {}"]},
    "tpr": {"ru": ["TPR = {}"], "en": ["TPR is {}"]},
    "tnr": {"ru": ["TNR = {}"], "en": ["TNR is {}"]},
    "lora_ranks": {"ru": ["Ранги LoRA: 4, 16, 64"], "en": ["LoRA with rank 4, 16, 64"]},
    "own_set": {
        "ru": ["Набрали 1024 спрайта, то есть 1024 картинки"],
        "en": ["We fetched 1024 sprites, so 1024 images"],
    },
}
PICTURES = {  # (caption, file) or a line of text before a nameless picture
    "loss_curve": {
        "ru": [("Функция потерь", "graph1"), ("", "loss"), ("text:Кривые потерь по эпохам:", "g")],
        "en": [("Loss", "graph1"), ("", "train_loss"), ("text:Losses over the epochs:", "g")],
    },
    "metric_curve": {
        "ru": [("FID по эпохам", "graph2"), ("", "fid_by_epoch"), ("text:График метрики на валидации:", "v")],
        "en": [
            ("FID over epochs", "graph2"),
            ("", "fid_by_epoch"),
            ("text:The validation metric by epoch:", "v"),
        ],
    },
    "avatars": {"ru": [("Аватар", "a"), ("", "avatars")], "en": [("Avatar", "a"), ("", "avatar_1")]},
    "interpolation": {"ru": [("Интерполяция", "i")], "en": [("Interpolation", "i"), ("", "interpolation")]},
    "cspup_drawn": {"ru": [("Схема CSPup", "c")], "en": [("CSPup scheme", "c"), ("", "csp_up")]},
    "projection": {
        "ru": [("Оригинал и проекция", "p")],
        "en": [("Original and projection", "p"), ("", "projected")],
    },
    "style_transfer": {"ru": [("Перенос стиля", "s")], "en": [("Style transfer", "s"), ("", "style_mixing")]},
    "expression_transfer": {
        "ru": [("Улыбка и другие эмоции", "e")],
        "en": [("Smile and other emotions", "e")],
    },
    "face_swap": {
        "ru": [("Замена лиц", "f"), ("", "face_swap")],
        "en": [("Face swap", "f"), ("", "faceswap")],
    },
    "prompts": {"ru": [("Пять запросов", "q")], "en": [("Five prompts", "q"), ("", "unet_vs_lora")]},
    "controlnet": {"ru": [("ControlNet", "n")], "en": [("ControlNet", "n"), ("", "controlnet_pose")]},
    "gif": {"ru": [("Интерполяция", "morph")], "en": [("Latent interpolation", "morph")]},
}
DRAWN = {"loss_curve", "metric_curve", "cspup_drawn"}
MODULE = "class {}(nn.Module):\n    def forward(self, x):\n        return self.layers({})\n"
CODE = {
    "styles_by_bayes": "def bayes_styles(n):\n    return (n + 1) / (n.sum() + len(n))\n",
    "cvae": MODULE.format("CVAE", "torch.cat([x, one_hot(y)], 1)"),
    "cspup_code": MODULE.format("CSPUp", "x[:, ::2]"),
    "generator_code": MODULE.format("Generator", "x"),
    "discriminator_code": MODULE.format("Discriminator", "x.flatten(1)"),
    "model_code": MODULE.format("Autoencoder", "self.encode(x)"),
    "logging": "writer = SummaryWriter('runs')\n",
}
ITEMS = {
    "hw1": [
        "styles_by_bayes",
        "smoothing",
        "avatars",
        "threshold",
        "tpr",
        "tnr",
        "vae_fid",
        "cvae",
        "fid_by_class",
        "beta_vae",
        "interpolation",
    ],
    "hw2": [
        "cspup_code",
        "cspup_drawn",
        "generator_code",
        "discriminator_code",
        "convergence",
        "goal",
        "idea",
        "result",
        "comparison",
    ],
    "hw3": ["projection", "style_transfer", "expression_transfer", "face_swap", "truncation"],
    "hw4": ["dreambooth", "lora_ranks", "prompts", "comparison", "controlnet"],
    "lab8": ["own_set", "model_code", "gif"],
}
COMMON = [
    "readme",
    "files",
    "requirements",
    "task",
    "dataset",
    "dataset_size",
    "loss_curve",
    "metric_curve",
    "output_images",
    "metric_values",
    "conclusions",
]
ABSENT_FROM_FORM = {
    "hw3": {"loss_curve", "metric_curve", "metric_values"},
    "hw4": {"metric_curve", "metric_values"},
    "lab8": {"metric_curve", "metric_values", "dataset_size"},
}
METRICS = {"vae_fid", "tpr", "tnr", "fid_by_class"}
